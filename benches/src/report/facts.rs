//! The machine and the versions that a result belongs to.

use std::fs;
use std::process::Command;
use std::time::SystemTime;

/// The packages that do the work.
const PACKAGES: &[&str] = &[
    "tokio",
    "serde_json",
    "hyper",
    "axum",
    "reqwest",
    "tonic",
    "prost",
    "tarpc",
    "bincode",
    "redis",
];

/// What is known, for people.
pub(crate) fn facts(layout: String) -> Vec<(&'static str, String)> {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .unwrap_or_default();

    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let cores = std::thread::available_parallelism()
        .map_or_else(|_| String::new(), |cores| cores.to_string());
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();

    let mut facts = vec![
        (
            "date",
            humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        ),
        (
            "command line",
            format!("rpc-benches {}", arguments.join(" ")),
        ),
        (
            "processor",
            cpu.trim_start_matches([' ', '\t', ':']).to_owned(),
        ),
        ("cores", cores),
        ("layout", layout),
        ("kernel", kernel.trim().to_owned()),
        ("compiler", first_line("rustc", &["--version"])),
        ("packages", packages(include_str!("../../../Cargo.lock"))),
        ("redis-server", first_line("redis-server", &["--version"])),
        (
            "tornado",
            first_line("python3", &["-c", "import tornado; print(tornado.version)"]),
        ),
    ];

    facts.retain(|(_, value)| !value.is_empty());
    facts
}

/// What a program says, or nothing where it is not there.
fn first_line(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        .unwrap_or_default();
    text.lines().next().unwrap_or_default().to_owned()
}

fn packages(lock: &str) -> String {
    let mut found = Vec::new();
    let mut lines = lock.lines();
    while let Some(line) = lines.next() {
        let name = line
            .strip_prefix("name = \"")
            .and_then(|rest| rest.strip_suffix('"'));

        if let Some(name) = name.filter(|name| PACKAGES.contains(name)) {
            let version = lines
                .next()
                .and_then(|line| line.strip_prefix("version = \""));
            found.push(format!(
                "{name} {}",
                version.unwrap_or_default().trim_end_matches('"')
            ));
        }
    }

    found.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_those_of_the_lock_file() {
        let lock = "[[package]]\nname = \"tokio\"\nversion = \"1.2.3\"\n\n[[package]]\nname = \"tokio-util\"\nversion = \"9\"\n";
        assert_eq!(packages(lock), "tokio 1.2.3");
    }
}
