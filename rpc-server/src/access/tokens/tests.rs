use super::*;

const FIRST: &str = "first-token-of-orders-0123456789";
const SECOND: &str = "second-token-of-orders-0123456789";
const OTHER: &str = "token-of-billing-0123456789abcdef";

#[test]
fn a_token_is_found_by_its_hash_and_whose_it_is() {
    let hash = |token| Tokens::hash(token).unwrap();
    let text = format!(
        "# tokens\n\norders {}\n  orders\t{}  \nbilling {}\n",
        hash(FIRST),
        hash(SECOND).to_uppercase(),
        hash(OTHER)
    );

    let tokens = Tokens::parse(&text).unwrap();
    let whose = |token: &str| tokens.find(token).map(|(identity, _)| identity.to_string());

    assert_eq!(whose(FIRST).as_deref(), Some("orders"));
    assert_eq!(whose(SECOND).as_deref(), Some("orders"));
    assert_eq!(whose(OTHER).as_deref(), Some("billing"));

    assert_eq!(whose("first-token-of-orders-012345678"), None);
    assert_eq!(whose(&hash(FIRST)), None, "the hash is no token");
    assert_eq!(whose(&"x".repeat(TOKEN_BYTES_MAX + 1)), None);

    assert_eq!(Tokens::default().find(FIRST), None);
    assert!(!format!("{tokens:?}").contains(&hash(FIRST)[..8]));
}

#[test]
fn the_hash_is_sha_256() {
    // What `printf %s correct-horse-battery-staple | sha256sum` prints.
    let expected = "87cbebfeebc05f7c54ac9336c4b4bbec831227a641951a4bde7edd56020f8590";
    assert_eq!(
        Tokens::hash("correct-horse-battery-staple").as_deref(),
        Some(expected)
    );

    assert_eq!(Tokens::hash("too-short"), None);
}

#[test]
fn what_is_wrong_is_named_by_its_line_without_the_hash() {
    let hash = Tokens::hash(FIRST).unwrap();

    for (text, part) in [
        (
            "orders".to_owned(),
            "line 1: must be an identity and a token's hash",
        ),
        (format!("\norders {hash} x"), "line 2: must be an identity"),
        (
            format!("orders {}", &hash[1..]),
            "line 1: the hash must be 64 hexadecimal digits",
        ),
        (
            format!("a {hash}\nb {hash}"),
            "line 2: another identity has the same token; give each its own",
        ),
    ] {
        let message = Tokens::parse(&text).unwrap_err().to_string();
        assert!(
            message.contains(part) && !message.contains(&hash[1..9]),
            "{message}"
        );
    }

    let missing = Tokens::load(Path::new("/nowhere/tokens"))
        .unwrap_err()
        .to_string();
    assert!(missing.starts_with("/nowhere/tokens: "), "{missing}");

    let error = Tokens::load(Path::new("/nowhere/tokens")).unwrap_err();
    assert_eq!(
        (error.file(), error.line()),
        (Some(Path::new("/nowhere/tokens")), None)
    );
    let cause = std::error::Error::source(&error).and_then(|cause| cause.downcast_ref());
    assert_eq!(cause.map(io::Error::kind), Some(io::ErrorKind::NotFound));
}
