//! The scope of an annotation: which of Python's own types are hidden there by a method or an argument.

use std::borrow::Cow;

/// The types of the language that annotations name.
pub(super) const BUILTINS: &[&str] = &["bool", "dict", "float", "int", "list", "str"];

/// A module, a class or a function, by what it hides.
#[derive(Default)]
pub(super) struct Scope {
    hidden: Vec<&'static str>,
}

impl Scope {
    /// The scope in which these names mean something else: the methods of a class, or the arguments of a function.
    pub(super) fn with<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let names = names.into_iter();
        let hidden = names.filter_map(|name| BUILTINS.iter().find(|&&it| it == name).copied());
        Self {
            hidden: hidden.collect(),
        }
    }

    /// A type of the language, as it is written here.
    pub(super) fn builtin(&self, name: &'static str) -> Cow<'static, str> {
        if self.hidden.contains(&name) {
            format!("builtins.{name}").into()
        } else {
            name.into()
        }
    }
}
