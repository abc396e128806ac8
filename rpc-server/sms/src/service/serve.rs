//! Adds the commands to a router.

use rpc_core::api::sms::SmsServer;
use rpc_core::typed::{Method, Routes, Serve};
use rpc_core::{Context, Descriptor, Request, Service, Status};
use serde::de::DeserializeOwned;

use super::SmsHandlers;

/// The commands of the SMS service, for [`Router::serve`](rpc_server::Router::serve). Keys of `send` are kept by the outbox,
/// so that they hold over restarts.
pub struct SmsCommands(pub SmsHandlers);

impl Serve for SmsCommands {
    fn serve<R: Routes>(self, routes: R) -> Result<R, R::Error> {
        let store = self.0.outbox.store().name().to_owned();
        let routes = DurableKeys { routes, store };
        Ok(SmsServer(self.0).serve(routes)?.routes)
    }
}

/// Routes whose commands with `dedup` keep their keys themselves, in a store of this name.
struct DurableKeys<R> {
    routes: R,
    store: String,
}

impl<R: Routes> Routes for DurableKeys<R> {
    type Error = R::Error;

    fn params<P: DeserializeOwned + Send + 'static>(request: &Request<'_>) -> Result<P, Status> {
        R::params(request)
    }

    fn no_params(request: &Request<'_>) -> Result<(), Status> {
        R::no_params(request)
    }

    fn context(request: &Request<'_>) -> Context {
        R::context(request)
    }

    fn add(
        self,
        method: &Method,
        mut descriptor: Descriptor,
        handler: impl Service,
    ) -> Result<Self, R::Error> {
        if let Some(dedup) = &mut descriptor.dedup {
            dedup.store = Some(self.store.clone().into());
        }
        Ok(Self {
            routes: self.routes.add(method, descriptor, handler)?,
            store: self.store,
        })
    }
}
