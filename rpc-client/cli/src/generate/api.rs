//! The commands of services with their types, as each language writes them.

use std::borrow::Cow;

use rpc_core::{Descriptor, ErrorDescriptor};
use serde_json::Value;

use super::lower::Lowering;
use super::names::{Names, pascal};

/// All that is written.
pub(crate) struct Api {
    pub(crate) services: Vec<Service>,
    /// Types with a name, in the order in which the commands name them.
    pub(crate) types: Vec<Declared>,
    /// The services' own errors.
    pub(crate) errors: Vec<OwnError>,
}

pub(crate) struct Service {
    pub(crate) name: String,
    /// What the names of its classes begin with.
    pub(crate) class: String,
    pub(crate) methods: Vec<Method>,
}

pub(crate) struct Method {
    pub(crate) descriptor: Descriptor,
    pub(crate) params: Params,
    /// Of a stream, the type of each item.
    pub(crate) data: Type,
    /// Codes with the names of their classes.
    pub(crate) errors: Vec<(u32, String)>,
}

pub(crate) enum Params {
    None,
    /// An object with these members, which has a type of its own, too.
    Object {
        name: String,
        fields: Vec<Field>,
        more: Option<Type>,
    },
    /// Anything else.
    Value(Type),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Type {
    Any,
    Null,
    Bool,
    Integer,
    Number,
    Text,
    /// Values that are counted: each is null, a boolean, an integer or a text.
    Literals(Vec<Value>),
    List(Box<Type>),
    /// A list with a type for each place.
    Tuple(Vec<Type>),
    /// An object with any names.
    Map(Box<Type>),
    Union(Vec<Type>),
    /// A type that has a name.
    Named(String),
}

/// A type with a name.
pub(crate) struct Declared {
    pub(crate) name: String,
    pub(crate) doc: String,
    pub(crate) shape: Shape,
}

pub(crate) enum Shape {
    Object {
        fields: Vec<Field>,
        /// The type of members that are not among the fields, where there may be such.
        more: Option<Type>,
    },
    /// Values, each with what is said of it.
    Literals(Vec<(Value, String)>),
    Alias(Type),
}

/// A member of an object.
#[derive(Debug, Clone)]
pub(crate) struct Field {
    /// Its name on the wire.
    pub(crate) name: String,
    pub(crate) ty: Type,
    pub(crate) presence: Presence,
    pub(crate) doc: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence {
    Required,
    Optional,
}

/// One of a service's own errors.
pub(crate) struct OwnError {
    pub(crate) class: String,
    pub(crate) code: u32,
    pub(crate) doc: Cow<'static, str>,
    pub(crate) details: Type,
}

impl Type {
    /// One of these, each named once; any value where one of them is that.
    pub(crate) fn one_of(types: impl IntoIterator<Item = Self>) -> Self {
        let mut alternatives: Vec<Self> = Vec::new();
        for ty in types {
            let inner = match ty {
                Self::Union(inner) => inner,
                ty => vec![ty],
            };
            for ty in inner {
                if ty == Self::Any {
                    return Self::Any;
                }
                if !alternatives.contains(&ty) {
                    alternatives.push(ty);
                }
            }
        }

        // A value that may be missing is read more easily with that at its end.
        alternatives.sort_by_key(|ty| *ty == Self::Null);
        match alternatives.len() {
            0 => Self::Any,
            1 => alternatives.remove(0),
            _ => Self::Union(alternatives),
        }
    }
}

impl Field {
    pub(crate) fn is_required(&self) -> bool {
        self.presence == Presence::Required
    }
}

impl Api {
    /// The services of these commands. `names` are those of the file's own scope.
    pub(crate) fn of(commands: Vec<Descriptor>, mut names: Names) -> Self {
        let mut services: Vec<Service> = Vec::new();
        let mut classes = Names::default();
        for command in &commands {
            if !services.iter().any(|it| it.name == command.service) {
                let class = classes.claim(&[pascal(&command.service)]);
                names.take(&format!("{class}Client"));
                names.take(&format!("{class}BlockingClient"));
                services.push(Service {
                    name: command.service.to_string(),
                    class,
                    methods: Vec::new(),
                });
            }
        }

        let mut lowering = Lowering::new(names);
        let mut errors = Errors::default();
        for descriptor in commands {
            let service = services
                .iter_mut()
                .find(|service| service.name == descriptor.service);
            // Each has one, made above.
            let Some(service) = service else { continue };

            let (params, data) = lowering.command(&descriptor);
            let own = errors.of_command(&descriptor, &mut lowering);
            service.methods.push(Method {
                descriptor,
                params,
                data,
                errors: own,
            });
        }

        Self {
            services,
            types: lowering.declared(),
            errors: errors.found,
        }
    }
}

/// The errors of all services, each once.
#[derive(Default)]
struct Errors {
    found: Vec<OwnError>,
    sources: Vec<(Cow<'static, str>, ErrorDescriptor)>,
}

impl Errors {
    fn of_command(&mut self, command: &Descriptor, lowering: &mut Lowering) -> Vec<(u32, String)> {
        let mut own = Vec::new();
        for error in &command.errors {
            let known = self
                .sources
                .iter()
                .position(|(service, it)| *service == command.service && it == error);
            let index = known.unwrap_or_else(|| {
                self.found.push(lowering.error(command, error));
                self.sources.push((command.service.clone(), error.clone()));
                self.found.len() - 1
            });
            own.push((error.code, self.found[index].class.clone()));
        }
        own
    }
}
