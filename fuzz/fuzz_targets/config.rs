//! A config file of any text is taken, or refused with a line for each mistake; what was taken is
//! the same when it is printed and read again.

#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use rpc_daemon::DaemonConfig;
use rpc_daemon::config::{Mistakes, Overrides};

/// In memory where the system has a place for that: it is written in each run.
static FILE: LazyLock<PathBuf> = LazyLock::new(|| {
    let shared_memory = PathBuf::from("/dev/shm");
    let dir = if shared_memory.is_dir() {
        shared_memory
    } else {
        std::env::temp_dir()
    };
    dir.join(format!("rpc-fuzz-config-{}.toml", std::process::id()))
});

fuzz_target!(|data: &[u8]| {
    // Behind a line of its own, a variable of the environment and its value.
    let mut parts = data.splitn(2, |byte| *byte == 0);
    let (text, variable) = (parts.next().unwrap_or_default(), parts.next());
    let variable = variable
        .and_then(|variable| std::str::from_utf8(variable).ok())
        .and_then(|variable| {
            let (name, value) = variable.split_once('=')?;
            Some((format!("RPC_SERVER_{name}"), value.to_owned()))
        });

    let Err(mistakes) = load(text, variable) else {
        return;
    };
    assert!(!mistakes.lines().is_empty());
    for line in mistakes.lines() {
        assert!(!line.is_empty() && line.len() < 2_000, "{line}");
        assert!(!line.contains('\n'), "more than one line: {line}");
    }
});

fn load(text: &[u8], variable: Option<(String, String)>) -> Result<(), Mistakes> {
    std::fs::write(&*FILE, text).expect("there is room for a small file");
    let loaded = DaemonConfig::load(Some(&FILE), variable, Overrides::default())?;
    for warning in &loaded.warnings {
        assert!(!warning.contains('\n'), "more than one line: {warning}");
    }
    loaded.config.check_values()?;

    // Printing explains each key, which takes its time: for every sixteenth input.
    if text.len() % 16 == 0 {
        std::fs::write(&*FILE, loaded.config.to_commented_toml())
            .expect("there is room for a small file");
        let again = DaemonConfig::load(Some(&FILE), None, Overrides::default());
        let again = again.expect("what was printed is right");
        assert_eq!(again.config, loaded.config);
    }

    Ok(())
}
