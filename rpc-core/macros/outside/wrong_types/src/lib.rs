//! Types that cannot travel: this crate does not compile, and says why at the place.

use rpc_server::{Status, service};

pub struct NotSerializable;

#[derive(serde::Serialize, serde::Deserialize)]
pub struct Fine;

#[service]
pub trait Wrong {
    #[rpc(cmdid = 100)]
    async fn argument(&self, wrong_argument: NotSerializable) -> Result<(), Status>;

    #[rpc(cmdid = 101)]
    async fn data(&self) -> Result<NotSerializable, Status>;

    #[rpc(cmdid = 102)]
    async fn no_result(&self) -> Fine;

    #[rpc(cmdid = 103)]
    async fn no_status(&self) -> Result<Fine, String>;
}

#[service(schema)]
pub trait WithoutSchema {
    #[rpc(cmdid = 100)]
    async fn argument(&self, fine: Fine) -> Result<(), Status>;
}
