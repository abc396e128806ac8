//! Counting, without the counters: buckets and sums of latencies, the places of codes, and the text that Prometheus reads.
//! Server and client keep counters of their own.

pub mod codes;
pub mod histogram;
pub mod prometheus;
