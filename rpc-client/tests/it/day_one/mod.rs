//! The bugs that other clients were born with, each as a test of its own.

mod calls;
mod liveness;
