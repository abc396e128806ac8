#![allow(unused_imports)]

use rpc_core::{Status, rpc_error};

#[rpc_error]
#[derive(Debug)]
enum WithoutOther {
    #[rpc(code = 1001)]
    One,
}

#[rpc_error]
#[derive(Debug)]
enum Twice {
    #[rpc(code = 1001)]
    One,
    #[rpc(code = 1001)]
    Two,
    #[rpc(other)]
    Other(Status),
}

#[rpc_error]
#[derive(Debug)]
enum OfTheProtocol {
    #[rpc(code = 999)]
    One,
    #[rpc(other)]
    Other(Status),
}

#[rpc_error]
#[derive(Debug)]
enum WithoutCode {
    One,
    #[rpc(other)]
    Other(Status),
}

#[rpc_error]
#[derive(Debug)]
enum Values {
    #[rpc(code = 1001)]
    One(u32, u32),
    #[rpc(other)]
    Other(Status),
}

#[rpc_error]
#[derive(Debug)]
enum OtherWithout {
    #[rpc(other)]
    Other,
}

#[rpc_error]
#[derive(Debug)]
enum UnknownArgument {
    #[rpc(number = 1001)]
    One,
    #[rpc(other)]
    Other(Status),
}

#[rpc_error]
struct NoEnum;

fn main() {}
