#![allow(unused_imports)]

use rpc_core::{Context, Status, service};

#[service]
trait Generic<T>: Clone {
    #[rpc(cmdid = 2001)]
    async fn one(&self) -> Result<T, Status>;
}

#[service]
trait Empty {}

#[service]
trait Methods {
    const LIMIT: u32;

    #[rpc(cmdid = 2001)]
    async fn with_body(&self) -> Result<(), Status> {
        Ok(())
    }

    #[rpc(cmdid = 2002)]
    async fn generic<T>(&self, value: T) -> Result<(), Status>;

    #[rpc(cmdid = 2003)]
    async fn without_self() -> Result<(), Status>;

    #[rpc(cmdid = 2004)]
    async fn exclusive(&mut self) -> Result<(), Status>;

    #[rpc(cmdid = 2005)]
    async fn owned(self) -> Result<(), Status>;

    #[rpc(cmdid = 2006)]
    fn blocking(&self) -> Result<(), Status>;

    #[rpc(cmdid = 2007)]
    async fn silent(&self);

    #[rpc(cmdid = 2008)]
    async fn with(&self) -> Result<(), Status>;

    #[cfg(unix)]
    #[rpc(cmdid = 2009)]
    async fn sometimes(&self) -> Result<(), Status>;
}

#[service]
trait Arguments {
    #[rpc(cmdid = 2001)]
    async fn pattern(&self, (a, b): (u32, u32)) -> Result<(), Status>;

    #[rpc(cmdid = 2002)]
    async fn exclusive(&self, order: &mut String) -> Result<(), Status>;

    #[rpc(cmdid = 2003)]
    async fn any(&self, order: impl Into<String>) -> Result<(), Status>;

    #[rpc(cmdid = 2004)]
    async fn contexts(&self, one: Context, two: Context) -> Result<(), Status>;

    #[rpc(cmdid = 2005)]
    async fn lifetime(&self, text: &'static str) -> Result<(), Status>;

    #[rpc(cmdid = 2006)]
    async fn attribute(&self, #[default] text: String) -> Result<(), Status>;
}

#[service]
trait Streams {
    #[rpc(cmdid = 2001)]
    async fn waits(&self) -> impl Stream<Item = Result<u32, Status>> + Send;

    #[rpc(cmdid = 2002)]
    fn of_what(&self) -> impl Stream + Send;

    #[rpc(cmdid = 2003, dedup)]
    fn again(&self) -> impl Stream<Item = Result<u32, Status>> + Send;

    #[rpc(cmdid = 2004, oneway)]
    fn unanswered(&self) -> impl Stream<Item = Result<u32, Status>> + Send;
}

fn main() {}
