pub trait Orders: ::core::marker::Send + ::core::marker::Sync + 'static {
    /// Places an order, and replies with its number once it is stored.
    fn place(
        &self,
        order: Order,
    ) -> impl ::core::future::Future<
        Output = Result<u64, Status>,
    > + ::core::marker::Send;
    /// Counts a page view, without a reply.
    fn viewed(
        &self,
        page: String,
    ) -> impl ::core::future::Future<Output = ()> + ::core::marker::Send;
    /// Finds the orders of at least `at_least` pieces of an item.
    fn find(
        &self,
        item: &str,
        at_least: u32,
    ) -> impl ::core::future::Future<
        Output = Result<Vec<Order>, Status>,
    > + ::core::marker::Send;
    /// Streams orders as they are placed.
    fn watch(&self, from: u64) -> impl Stream<Item = Result<Order, Status>> + Send;
}
/// The commands of the service `orders`: their numbers, and what `describe` tells of them.
#[allow(dead_code)]
pub enum OrdersService {}
/// Serves an implementor of [`Orders`]: `Router::new().serve(OrdersServer(implementor))`.
#[derive(Clone, Copy, Debug, Default)]
#[allow(dead_code)]
pub struct OrdersServer<T>(
    /// The implementor.
    pub T,
);
/// Calls [`Orders`] behind any service: a client's connection, a router in a test, a mock.
#[derive(Debug)]
#[allow(dead_code)]
pub struct OrdersClient<S>(::rpc_server::__private::TypedClient<S>);
/// Calls [`Orders`] from plain threads: each call blocks its thread.
#[derive(Debug)]
#[allow(dead_code)]
pub struct OrdersBlockingClient<B: ::rpc_server::__private::Blocking>(
    ::rpc_server::__private::TypedBlockingClient<B>,
);
const _: () = {
    const __PLACE: ::rpc_server::__private::Method = ::rpc_server::__private::Method {
        service: "orders",
        name: "place",
        path: ::core::concat!(::core::module_path!(), "::Orders::place"),
        doc: "Places an order, and replies with its number once it is stored.",
        cmdid: ::rpc_server::__private::CmdId::new(2001u32),
        kind: ::rpc_server::__private::Kind::Unary,
        retry: ::rpc_server::__private::RetryCategory::Neither,
        timeout: ::rpc_server::__private::TimeLimit::OfClient,
        resumable: &[],
        deprecated: ::core::option::Option::None,
    };
    fn __describe_place() -> ::rpc_server::__private::Descriptor {
        __PLACE
            .descriptor(
                <<Result<
                    u64,
                    Status,
                > as ::rpc_server::__private::MethodResult>::Error as ::rpc_server::__private::ServiceError>::errors(),
            )
    }
    const __VIEWED: ::rpc_server::__private::Method = ::rpc_server::__private::Method {
        service: "orders",
        name: "viewed",
        path: ::core::concat!(::core::module_path!(), "::Orders::viewed"),
        doc: "Counts a page view, without a reply.",
        cmdid: ::rpc_server::__private::CmdId::new(2002u32),
        kind: ::rpc_server::__private::Kind::Oneway,
        retry: ::rpc_server::__private::RetryCategory::Neither,
        timeout: ::rpc_server::__private::TimeLimit::OfClient,
        resumable: &[],
        deprecated: ::core::option::Option::None,
    };
    fn __describe_viewed() -> ::rpc_server::__private::Descriptor {
        __VIEWED.descriptor(::std::vec::Vec::new())
    }
    const __FIND: ::rpc_server::__private::Method = ::rpc_server::__private::Method {
        service: "orders",
        name: "find",
        path: ::core::concat!(::core::module_path!(), "::Orders::find"),
        doc: "Finds the orders of at least `at_least` pieces of an item.",
        cmdid: ::rpc_server::__private::CmdId::new(2003u32),
        kind: ::rpc_server::__private::Kind::Unary,
        retry: ::rpc_server::__private::RetryCategory::Idempotent,
        timeout: ::rpc_server::__private::TimeLimit::OfClient,
        resumable: &[],
        deprecated: ::core::option::Option::None,
    };
    fn __describe_find() -> ::rpc_server::__private::Descriptor {
        __FIND
            .descriptor(
                <<Result<
                    Vec<Order>,
                    Status,
                > as ::rpc_server::__private::MethodResult>::Error as ::rpc_server::__private::ServiceError>::errors(),
            )
    }
    const __WATCH: ::rpc_server::__private::Method = ::rpc_server::__private::Method {
        service: "orders",
        name: "watch",
        path: ::core::concat!(::core::module_path!(), "::Orders::watch"),
        doc: "Streams orders as they are placed.",
        cmdid: ::rpc_server::__private::CmdId::new(2004u32),
        kind: ::rpc_server::__private::Kind::Stream,
        retry: ::rpc_server::__private::RetryCategory::Idempotent,
        timeout: ::rpc_server::__private::TimeLimit::None,
        resumable: &[],
        deprecated: ::core::option::Option::None,
    };
    fn __describe_watch() -> ::rpc_server::__private::Descriptor {
        __WATCH
            .descriptor(
                <<Result<
                    Order,
                    Status,
                > as ::rpc_server::__private::MethodResult>::Error as ::rpc_server::__private::ServiceError>::errors(),
            )
    }
    #[allow(dead_code)]
    impl OrdersService {
        /// The number of `orders.place`.
        pub const PLACE: ::rpc_server::__private::CmdId = __PLACE.cmdid;
        /// The number of `orders.viewed`.
        pub const VIEWED: ::rpc_server::__private::CmdId = __VIEWED.cmdid;
        /// The number of `orders.find`.
        pub const FIND: ::rpc_server::__private::CmdId = __FIND.cmdid;
        /// The number of `orders.watch`.
        pub const WATCH: ::rpc_server::__private::CmdId = __WATCH.cmdid;
        /// What `describe` tells of each command, in the order of the trait.
        pub fn descriptors() -> ::std::vec::Vec<::rpc_server::__private::Descriptor> {
            ::std::vec![
                __describe_place(), __describe_viewed(), __describe_find(),
                __describe_watch()
            ]
        }
    }
    impl<T: Orders> Orders for ::std::sync::Arc<T> {
        fn place(
            &self,
            order: Order,
        ) -> impl ::core::future::Future<
            Output = Result<u64, Status>,
        > + ::core::marker::Send {
            <T as Orders>::place(&**self, order)
        }
        fn viewed(
            &self,
            page: String,
        ) -> impl ::core::future::Future<Output = ()> + ::core::marker::Send {
            <T as Orders>::viewed(&**self, page)
        }
        fn find(
            &self,
            item: &str,
            at_least: u32,
        ) -> impl ::core::future::Future<
            Output = Result<Vec<Order>, Status>,
        > + ::core::marker::Send {
            <T as Orders>::find(&**self, item, at_least)
        }
        fn watch(&self, from: u64) -> impl Stream<Item = Result<Order, Status>> + Send {
            <T as Orders>::watch(&**self, from)
        }
    }
    #[derive(::rpc_server::__private::serde::Deserialize)]
    #[serde(
        crate = "::rpc_server::__private::serde",
        rename = "find",
        expecting = "an object with the arguments of `find`"
    )]
    struct __FindParams {
        item: ::std::string::String,
        #[serde(default)]
        at_least: u32,
    }
    impl<T: Orders> ::rpc_server::__private::Serve for OrdersServer<T> {
        fn serve<R: ::rpc_server::__private::Routes>(
            self,
            routes: R,
        ) -> ::core::result::Result<R, R::Error> {
            let service = ::std::sync::Arc::new(self.0);
            let routes = {
                let service = ::std::sync::Arc::clone(&service);
                R::add(
                    routes,
                    &__PLACE,
                    __describe_place(),
                    ::rpc_server::__private::handler(move |
                        request: ::rpc_server::__private::Request<'_>|
                    {
                        let service = ::std::sync::Arc::clone(&service);
                        let arguments = R::params::<Order>(&request);
                        async move {
                            let params = arguments?;
                            ::rpc_server::__private::IntoReply::into_outcome(
                                <T as Orders>::place(&*service, params).await,
                            )
                        }
                    }),
                )?
            };
            let routes = {
                let service = ::std::sync::Arc::clone(&service);
                R::add(
                    routes,
                    &__VIEWED,
                    __describe_viewed(),
                    ::rpc_server::__private::handler(move |
                        request: ::rpc_server::__private::Request<'_>|
                    {
                        let service = ::std::sync::Arc::clone(&service);
                        let arguments = R::params::<String>(&request);
                        async move {
                            let params = arguments?;
                            ::rpc_server::__private::IntoReply::into_outcome(
                                <T as Orders>::viewed(&*service, params).await,
                            )
                        }
                    }),
                )?
            };
            let routes = {
                let service = ::std::sync::Arc::clone(&service);
                R::add(
                    routes,
                    &__FIND,
                    __describe_find(),
                    ::rpc_server::__private::handler(move |
                        request: ::rpc_server::__private::Request<'_>|
                    {
                        let service = ::std::sync::Arc::clone(&service);
                        let arguments = R::params::<__FindParams>(&request);
                        async move {
                            let params = arguments?;
                            ::rpc_server::__private::IntoReply::into_outcome(
                                <T as Orders>::find(
                                        &*service,
                                        &params.item,
                                        params.at_least,
                                    )
                                    .await,
                            )
                        }
                    }),
                )?
            };
            let routes = {
                let service = ::std::sync::Arc::clone(&service);
                R::add(
                    routes,
                    &__WATCH,
                    __describe_watch(),
                    ::rpc_server::__private::handler(move |
                        request: ::rpc_server::__private::Request<'_>|
                    {
                        let service = ::std::sync::Arc::clone(&service);
                        let arguments = R::params::<u64>(&request);
                        async move {
                            let params = arguments?;
                            ::core::result::Result::Ok(
                                ::rpc_server::__private::stream_reply(move |sink| async move {
                                    sink.send_all(<T as Orders>::watch(&*service, params))
                                        .await;
                                }),
                            )
                        }
                    }),
                )?
            };
            ::core::result::Result::Ok(routes)
        }
    }
    #[derive(::rpc_server::__private::serde::Serialize)]
    #[serde(crate = "::rpc_server::__private::serde")]
    struct __FindParamsRef<'a> {
        item: &'a str,
        #[serde(default)]
        at_least: &'a u32,
    }
    #[allow(dead_code)]
    impl<S: ::rpc_server::__private::Service> OrdersClient<S> {
        /// A client of this service.
        pub fn new(service: S) -> Self {
            Self(::rpc_server::__private::TypedClient::new(service))
        }
        /// The same client with options for its calls; what they do not say holds on.
        #[must_use]
        pub fn with(&self, options: ::rpc_server::__private::CallOptions) -> Self {
            Self(self.0.with(options))
        }
        /// Places an order, and replies with its number once it is stored.
        ///
        /// Calls `orders.place`, cmdid 2001.
        pub fn place(
            &self,
            order: Order,
        ) -> impl ::core::future::Future<
            Output = Result<u64, Status>,
        > + ::core::marker::Send + use<'_, S> {
            self.0.unary::<Result<u64, Status>>(self.0.request(&__PLACE, &order))
        }
        /// Counts a page view, without a reply.
        ///
        /// Calls `orders.viewed`, cmdid 2002.
        pub fn viewed(
            &self,
            page: String,
        ) -> impl ::core::future::Future<
            Output = ::core::result::Result<(), ::rpc_server::__private::Status>,
        > + ::core::marker::Send + use<'_, S> {
            self.0.oneway(self.0.request(&__VIEWED, &page))
        }
        /// Finds the orders of at least `at_least` pieces of an item.
        ///
        /// Calls `orders.find`, cmdid 2003.
        pub fn find(
            &self,
            item: &str,
            at_least: u32,
        ) -> impl ::core::future::Future<
            Output = Result<Vec<Order>, Status>,
        > + ::core::marker::Send + use<'_, S> {
            self.0
                .unary::<
                    Result<Vec<Order>, Status>,
                >(
                    self
                        .0
                        .request(
                            &__FIND,
                            &__FindParamsRef {
                                item: item,
                                at_least: &at_least,
                            },
                        ),
                )
        }
        /// Streams orders as they are placed.
        ///
        /// Calls `orders.watch`, cmdid 2004.
        pub fn watch(
            &self,
            from: u64,
        ) -> impl ::core::future::Future<
            Output = ::core::result::Result<
                ::rpc_server::__private::Items<Result<Order, Status>>,
                <Result<Order, Status> as ::rpc_server::__private::MethodResult>::Error,
            >,
        > + ::core::marker::Send + use<'_, S> {
            self.0.stream::<Result<Order, Status>>(self.0.request(&__WATCH, &from))
        }
    }
    impl<S> ::core::clone::Clone for OrdersClient<S> {
        fn clone(&self) -> Self {
            Self(::core::clone::Clone::clone(&self.0))
        }
    }
    #[allow(dead_code)]
    impl<B: ::rpc_server::__private::Blocking> OrdersBlockingClient<B> {
        /// A client of the service that this one calls.
        pub fn new(blocking: B) -> Self {
            Self(::rpc_server::__private::TypedBlockingClient::new(blocking))
        }
        /// The same client with options for its calls; what they do not say holds on.
        #[must_use]
        pub fn with(&self, options: ::rpc_server::__private::CallOptions) -> Self {
            Self(self.0.with(options))
        }
        /// Places an order, and replies with its number once it is stored.
        ///
        /// Calls `orders.place`, cmdid 2001.
        pub fn place(&self, order: Order) -> Result<u64, Status> {
            self.0.unary::<Result<u64, Status>>(self.0.request(&__PLACE, &order))
        }
        /// Counts a page view, without a reply.
        ///
        /// Calls `orders.viewed`, cmdid 2002.
        pub fn viewed(
            &self,
            page: String,
        ) -> ::core::result::Result<(), ::rpc_server::__private::Status> {
            self.0.oneway(self.0.request(&__VIEWED, &page))
        }
        /// Finds the orders of at least `at_least` pieces of an item.
        ///
        /// Calls `orders.find`, cmdid 2003.
        pub fn find(&self, item: &str, at_least: u32) -> Result<Vec<Order>, Status> {
            self.0
                .unary::<
                    Result<Vec<Order>, Status>,
                >(
                    self
                        .0
                        .request(
                            &__FIND,
                            &__FindParamsRef {
                                item: item,
                                at_least: &at_least,
                            },
                        ),
                )
        }
        /// Streams orders as they are placed.
        ///
        /// Calls `orders.watch`, cmdid 2004.
        pub fn watch(
            &self,
            from: u64,
        ) -> ::core::result::Result<
            ::rpc_server::__private::BlockingItems<B, Result<Order, Status>>,
            <Result<Order, Status> as ::rpc_server::__private::MethodResult>::Error,
        > {
            self.0.stream::<Result<Order, Status>>(self.0.request(&__WATCH, &from))
        }
    }
    impl<B: ::rpc_server::__private::Blocking> ::core::clone::Clone
    for OrdersBlockingClient<B> {
        fn clone(&self) -> Self {
            Self(::core::clone::Clone::clone(&self.0))
        }
    }
    #[allow(dead_code)]
    fn __assert_types() {
        ::rpc_server::__private::assert_argument::<Order>();
        ::rpc_server::__private::assert_result::<Result<u64, Status>>();
        ::rpc_server::__private::assert_argument::<String>();
        ::rpc_server::__private::assert_argument::<::std::string::String>();
        ::rpc_server::__private::assert_argument::<u32>();
        ::rpc_server::__private::assert_result::<Result<Vec<Order>, Status>>();
        ::rpc_server::__private::assert_argument::<u64>();
        ::rpc_server::__private::assert_result::<Result<Order, Status>>();
    }
};
