//! The random name of this process.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::OnceLock;

/// A random name for this process: 32 hexadecimal digits, as `describe`, `health` and `authenticate` tell it. A process
/// that is started again has another one.
pub fn instance() -> &'static str {
    static INSTANCE: OnceLock<String> = OnceLock::new();
    INSTANCE.get_or_init(|| {
        // The state is random by the system's means; what it makes of two numbers is 128 random bits.
        let state = RandomState::new();
        format!("{:016x}{:016x}", state.hash_one(0), state.hash_one(1))
    })
}
