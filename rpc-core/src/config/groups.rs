//! A config made of groups: reads it, and checks all of it.

/// Writes `Deserialize` and `check` for a config whose fields are groups of settings, `$options` those that may be absent and
/// have nothing to check.
///
/// A group that is left out has its defaults. An unknown key is refused; one of `$moved`, which has the old
/// name and the new path of settings that once stood beside the groups, is refused with its new place.
///
/// The fields are listed twice, in the struct and here; the compiler refuses a list that lacks one.
#[doc(hidden)]
#[macro_export]
macro_rules! __config_groups {
    ($config:ident, moved: $moved:expr, groups: [$($group:ident),+ $(,)?], options: [$($option:ident),*]) => {
        impl $config {
            /// Checks every group.
            ///
            /// # Errors
            /// The setting as a file spells it, its value, and what it must be.
            pub fn check(&self) -> Result<(), $crate::config::ConfigError> {
                let Self { $($group,)+ $($option: _,)* } = self;
                $($group.check()?;)+
                Ok(())
            }
        }

        impl<'de> ::serde::Deserialize<'de> for $config {
            fn deserialize<D: ::serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                const GROUPS: &[&str] = &[$(stringify!($group),)+ $(stringify!($option),)*];

                struct Groups;

                impl<'de> ::serde::de::Visitor<'de> for Groups {
                    type Value = $config;

                    fn expecting(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                        f.write_str("groups of settings")
                    }

                    fn visit_map<A>(self, mut map: A) -> Result<$config, A::Error>
                    where
                        A: ::serde::de::MapAccess<'de>,
                    {
                        let mut config = <$config>::default();

                        while let Some(key) = map.next_key::<String>()? {
                            $(if key == stringify!($group) {
                                config.$group = map.next_value()?;
                                continue;
                            })+
                            $(if key == stringify!($option) {
                                config.$option = map.next_value()?;
                                continue;
                            })*

                            let moved: &[(&str, &str)] = $moved;
                            return Err(match moved.iter().find(|(old, _)| *old == key) {
                                Some((_, path)) => ::serde::de::Error::custom(format_args!(
                                    "`{key}` has moved: it is `{path}` now"
                                )),
                                None => ::serde::de::Error::unknown_field(&key, GROUPS),
                            });
                        }

                        Ok(config)
                    }
                }

                deserializer.deserialize_struct(stringify!($config), GROUPS, Groups)
            }
        }
    };
}

/// Writes what the tests of such a config have in common: `paths`, the path of every setting; `read`, which reads a config from
/// JSON; and a test of `$moved`.
#[doc(hidden)]
#[macro_export]
macro_rules! __config_groups_tests {
    ($config:ident, moved: $moved:expr) => {
        /// The path of every setting that has a default.
        fn paths() -> ::std::collections::BTreeSet<String> {
            let config = ::serde_json::to_value(<$config>::default()).unwrap();
            let groups = config.as_object().expect("a config is an object of groups");

            let settings = groups.iter().flat_map(|(group, settings)| {
                let names = settings.as_object().into_iter().flat_map(|names| names.keys());
                names.map(move |name| format!("{group}.{name}"))
            });
            settings.collect()
        }

        fn read(config: ::serde_json::Value) -> Result<$config, String> {
            ::serde_json::from_value(config).map_err(|error: ::serde_json::Error| error.to_string())
        }

        #[test]
        fn a_setting_outside_of_its_group_is_refused_with_its_place() {
            let moved: &[(&str, &str)] = $moved;
            assert!(!moved.is_empty());

            for (old, path) in moved {
                assert!(paths().contains(*path), "{old} is not at {path}");
                assert_eq!(
                    read(::serde_json::json!({ *old: 5 })),
                    Err(format!("`{old}` has moved: it is `{path}` now"))
                );
            }
        }
    };
}
