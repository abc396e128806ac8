#![allow(unused_imports)]

use rpc_core::{Status, service};

#[service]
trait Numbers {
    async fn without(&self) -> Result<(), Status>;

    #[rpc(idempotent)]
    async fn without_number(&self) -> Result<(), Status>;

    #[rpc(cmdid = 6)]
    async fn reserved(&self) -> Result<(), Status>;

    #[rpc(cmdid = 2001)]
    async fn first(&self) -> Result<(), Status>;

    #[rpc(cmdid = 2001)]
    async fn second(&self) -> Result<(), Status>;

    #[rpc(cmdid = -1)]
    async fn negative(&self) -> Result<(), Status>;

    #[rpc(cmdid = 4294967296)]
    async fn too_large(&self) -> Result<(), Status>;

    #[rpc(cmdid = NUMBER)]
    async fn constant(&self) -> Result<(), Status>;

    #[rpc(cmdid = 2002, cmdid = 2003)]
    async fn two_numbers(&self) -> Result<(), Status>;

    #[rpc(cmdid = 2004)]
    #[rpc(idempotent)]
    async fn two_attributes(&self) -> Result<(), Status>;
}

#[service]
trait Categories {
    #[rpc(cmdid = 2001, idempotent, dedup)]
    async fn both(&self) -> Result<(), Status>;

    #[rpc(cmdid = 2002, dedup(always))]
    async fn always(&self) -> Result<(), Status>;

    #[rpc(cmdid = 2003, oneway, dedup)]
    async fn oneway(&self);

    #[rpc(cmdid = 2004, timeout_ms = 0)]
    async fn at_once(&self) -> Result<(), Status>;

    #[rpc(cmdid = 2005, timeout_ms = "1s")]
    async fn text(&self) -> Result<(), Status>;

    #[rpc(cmdid = 2006, timeout_ms = 5, no_timeout)]
    async fn both_limits(&self) -> Result<(), Status>;

    #[rpc(cmdid = 2007, retry)]
    async fn unknown(&self) -> Result<(), Status>;

    #[rpc(cmdid = 2008, name = "a.b")]
    async fn dotted(&self) -> Result<(), Status>;

    #[rpc(cmdid = 2009, name = "same")]
    async fn one(&self) -> Result<(), Status>;

    #[rpc(cmdid = 2010, name = "same")]
    async fn other(&self) -> Result<(), Status>;

    #[rpc(cmdid = 2011, resumable(cursor = "next", param = "after"))]
    async fn no_stream(&self, after: u64) -> Result<(), Status>;

    #[rpc(cmdid = 2012, resumable)]
    async fn no_pair(&self) -> Result<(), Status>;

    #[rpc(cmdid = 2013, resumable(cursor = "next"))]
    async fn half_a_pair(&self) -> Result<(), Status>;

    #[rpc(cmdid = 2014, resumable(param = "after", cursor = "next"))]
    async fn turned_round(&self) -> Result<(), Status>;
}

#[service(namespace = "x")]
trait Unknown {
    #[rpc(cmdid = 2001)]
    async fn one(&self) -> Result<(), Status>;
}

#[service]
struct NoTrait;

fn main() {}
