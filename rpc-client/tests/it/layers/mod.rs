mod service_client;
mod stack;
