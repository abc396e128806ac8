//! Files of endpoints, in paused time.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Endpoints;
use rpc_client::Config;

/// A directory with a file of endpoints in it.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("endpoints")
    }

    fn write_in_place(&self, text: &str) {
        fs::write(self.path(), text).unwrap();
    }

    fn replace(&self, text: &str) {
        let new = self.0.path().join("new");
        fs::write(&new, text).unwrap();
        fs::rename(new, self.path()).unwrap();
    }

    fn endpoints(&self) -> Endpoints {
        endpoints(&self.path(), Config::default())
    }
}

fn endpoints(path: &Path, config: Config) -> Endpoints {
    Endpoints::of(&format!("file:{}", path.display()), config)
}

#[tokio::test(start_paused = true)]
async fn a_file_is_followed_when_it_is_replaced_and_when_it_is_written_in_place() {
    let place = Place::new();
    place.write_in_place("a:1 # the first\n\nb:2\n");
    let mut endpoints = place.endpoints();
    assert_eq!(endpoints.next().await, ["a:1", "b:2"]);
    place.replace("[\"a:1\", {\"address\": \"c:3\", \"weight\": 4, \"priority\": 1}]");
    assert_eq!(endpoints.next().await, ["a:1", "c:3 1 4"]);
    place.write_in_place("d:4");
    assert_eq!(endpoints.next().await, ["d:4"]);
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_being_written_is_not_taken_before_it_is_whole() {
    let place = Place::new();
    place.write_in_place("10.0.0.1:8889\n10.0.0.2:8889\n");
    let mut endpoints = place.endpoints();
    assert_eq!(endpoints.next().await, ["10.0.0.1:8889", "10.0.0.2:8889"]);
    // Empty at first, then with half an address that looks like a whole one.
    let mut file = fs::File::create(place.path()).unwrap();
    for part in ["", "10.0.0.3:88", "89\n10.0.0.4:", "8889\n10.0.0.5:8889\n"] {
        file.write_all(part.as_bytes()).unwrap();
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
    assert_eq!(
        endpoints.next().await,
        ["10.0.0.3:8889", "10.0.0.4:8889", "10.0.0.5:8889"]
    );
}

#[tokio::test(start_paused = true)]
async fn the_last_good_list_stays_while_the_file_is_empty_bad_or_gone() {
    let place = Place::new();
    place.write_in_place("a:1\n");
    let mut endpoints = place.endpoints();
    assert_eq!(endpoints.next().await, ["a:1"]);
    place.replace("");
    tokio::time::sleep(Duration::from_secs(3)).await;
    place.replace("a:1\nb\n");
    tokio::time::sleep(Duration::from_secs(3)).await;
    fs::remove_file(place.path()).unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    place.replace("b:2\n");
    assert_eq!(
        endpoints.next().await,
        ["b:2"],
        "no other list came between"
    );
}

#[tokio::test(start_paused = true)]
async fn a_file_that_comes_later_is_found_and_until_then_the_reason_is_told() {
    let place = Place::new();
    let mut endpoints = place.endpoints();
    let error = endpoints.next_error().await;
    assert!(
        error.contains("endpoints: cannot read ") && error.contains("No such file"),
        "{error}"
    );
    place.replace("localhost\n");
    let error = endpoints.next_error().await;
    assert!(
        error.contains("line 1: `localhost` is not an address"),
        "{error}"
    );
    place.replace("localhost:1\n");
    assert_eq!(endpoints.next().await, ["localhost:1"]);
}

#[cfg(unix)]
#[tokio::test(start_paused = true)]
async fn a_link_that_is_swapped_is_followed() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    fs::write(path("one"), "a:1").unwrap();
    fs::write(path("two"), "b:2").unwrap();
    std::os::unix::fs::symlink("one", path("current")).unwrap();
    let mut endpoints = endpoints(&path("current"), Config::default());
    assert_eq!(endpoints.next().await, ["a:1"]);
    std::os::unix::fs::symlink("two", path("next")).unwrap();
    fs::rename(path("next"), path("current")).unwrap();
    assert_eq!(endpoints.next().await, ["b:2"]);
}

#[tokio::test(start_paused = true)]
async fn a_file_over_the_limit_and_what_is_not_a_file_are_refused() {
    let place = Place::new();
    place.write_in_place("a:1\nb:2\n");
    let config = Config::default().with(|config| config.discovery.bytes_max = 7);
    let error = endpoints(&place.path(), config).next_error().await;
    assert!(
        error.contains("over `discovery.bytes_max` of 7 bytes"),
        "{error}"
    );
    let error = endpoints(place.0.path(), Config::default())
        .next_error()
        .await;
    assert!(error.contains("not a regular file"), "{error}");
}
