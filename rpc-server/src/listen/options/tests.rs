use super::*;

fn is_allowed(address: &str, policy: &Policy) -> bool {
    let address = BoundAddress::Tcp(address.parse().unwrap());
    policy.check(&address).is_ok()
}

#[test]
fn what_others_reach_is_protected_or_says_that_it_is_not() {
    let bare = Policy::default;

    for own in ["127.0.0.1:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
        assert!(is_allowed(own, &bare()), "{own}");
    }

    let authenticated = Policy {
        requires_authentication: true,
        ..bare()
    };
    let plaintext = Policy {
        allows_plaintext: true,
        ..bare()
    };
    for reached in ["0.0.0.0:1", "[::]:1", "10.0.0.1:1"] {
        assert!(!is_allowed(reached, &bare()), "{reached}");
        assert!(is_allowed(reached, &authenticated), "{reached}");
        assert!(is_allowed(reached, &plaintext), "{reached}");
    }

    assert!(bare().check(&BoundAddress::Unix("/run/x".into())).is_ok());
    let message = bare()
        .check(&BoundAddress::Tcp("0.0.0.0:1".parse().unwrap()))
        .unwrap_err()
        .to_string();
    assert!(message.contains("`allow_plaintext = true`"), "{message}");
}

#[test]
fn names_and_origins_of_http_calls_are_checked() {
    let check = |hosts: &[&str], origins: &[&str]| {
        let strings = |all: &[&str]| all.iter().map(|one| (*one).to_owned()).collect();
        let policy = Policy {
            http_hosts: strings(hosts),
            http_origins: strings(origins),
            ..Policy::default()
        };
        policy.check_http().map_err(|error| error.to_string())
    };
    let origins = ["https://app.example", "http://localhost:3000"];
    assert_eq!(check(&["rpc.example"], &origins), Ok(()));

    for host in ["", "rpc.example:8889", "http://rpc.example", "*"] {
        let message = check(&[host], &[]).unwrap_err();
        assert!(
            message.contains(&format!("`http_hosts`: \"{host}\"")),
            "{message}"
        );
    }
    for origin in [
        "",
        "app.example",
        "*",
        "null",
        "https://",
        "https://app.example/",
        "ftp://a",
    ] {
        let message = check(&[], &[origin]).unwrap_err();
        assert!(
            message.contains(&format!("`http_origins`: \"{origin}\"")),
            "{message}"
        );
    }
}

#[test]
fn an_address_is_checked_without_being_bound() {
    let check = |address: &str| ListenOptions::new(address).check();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    check(&taken.local_addr().unwrap().to_string()).unwrap();

    let directory = tempfile::tempdir().unwrap();
    let in_directory = |name: &str| format!("unix:{}", directory.path().join(name).display());
    std::fs::write(directory.path().join("file"), "").unwrap();
    check(&in_directory("socket")).unwrap();

    for (address, part) in [
        ("0.0.0.0:1", "`allow_plaintext = true`"),
        ("127.0.0.1:x", "write HOST:PORT"),
        (
            &in_directory("none/socket"),
            "is not a directory that exists",
        ),
        (&in_directory("file"), "is not a socket"),
        (&in_directory(&"x".repeat(200)), "must be shorter"),
    ] {
        let message = check(address).unwrap_err().to_string();
        assert!(message.contains(part), "{address}: {message}");
    }
    assert!(!directory.path().join("socket").exists());
}
