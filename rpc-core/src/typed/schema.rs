//! JSON Schemas of typed params and data.

use schemars::JsonSchema;
use serde_json::Value;

/// The schema of params, of data or of details.
pub fn of<T: JsonSchema>() -> Value {
    schemars::schema_for!(T).to_value()
}

/// The schema of a method's data; none for a method that answers nothing.
pub fn of_data<R: WithSchema>() -> Option<Value> {
    R::schema()
}

/// A `Result` whose data has a schema.
pub trait WithSchema {
    /// The schema; none for `()`.
    fn schema() -> Option<Value>;
}

impl<T: JsonSchema + 'static, E> WithSchema for Result<T, E> {
    fn schema() -> Option<Value> {
        (std::any::TypeId::of::<T>() != std::any::TypeId::of::<()>()).then(of::<T>)
    }
}
