//! A command line up to the cursor: its words, and the words that fit at its end.

use clap::{Arg, Command};

/// A line, read as far as completion needs it.
pub(super) struct Line<'l> {
    pub(super) program: &'l Command,
    /// The subcommand that has been named, or the program.
    pub(super) verb: &'l Command,
    /// The options that say which server it is, with their values.
    pub(super) server: Vec<String>,
    /// The word under the cursor, as far as it is there.
    pub(super) begun: &'l str,
    pub(super) place: Place<'l>,
}

/// What may stand under the cursor.
pub(super) enum Place<'l> {
    /// The name of a subcommand.
    Subcommand,
    /// An option of `rpc`.
    Option,
    /// The value of an option.
    ValueOf(&'l Arg),
    /// The name of a service.
    Service,
    /// The name of a command.
    Command,
    /// A flag of the params of the command with this name.
    Field(&'l str),
    /// The value of such a flag.
    ValueOfField(&'l str, &'l str),
}

impl<'l> Line<'l> {
    /// What the words say; `None` where nothing is to be completed, as a text of the caller's own.
    pub(super) fn read(words: &'l [String], program: &'l Command) -> Option<Self> {
        let (begun, words) = words.split_last()?;
        let mut line = Self {
            program,
            verb: program,
            server: Vec::new(),
            begun,
            place: Place::Subcommand,
        };

        // The first word is the program's own name.
        let mut rest = words.iter().skip(1);
        let mut arguments: Vec<&str> = Vec::new();
        while let Some(word) = rest.next() {
            if line.takes_fields() && !arguments.is_empty() {
                arguments.push(word);
            } else if word.starts_with('-') {
                let Some(option) = line.option(word) else {
                    continue;
                };
                let has_value = option.get_action().takes_values()
                    && !option.is_require_equals_set()
                    && !word.contains('=');
                let value = if has_value { rest.next() } else { None };
                if has_value && value.is_none() {
                    line.place = Place::ValueOf(option);
                    return Some(line);
                }
                if program
                    .get_arguments()
                    .any(|it| it.get_id() == option.get_id())
                {
                    line.server.push(word.clone());
                    line.server.extend(value.cloned());
                }
            } else if let Some(verb) = line.verb.find_subcommand(word) {
                line.verb = verb;
            } else {
                arguments.push(word);
            }
        }

        line.place = line.place_behind(&arguments)?;
        Some(line)
    }

    fn place_behind(&self, arguments: &[&'l str]) -> Option<Place<'l>> {
        if self.verb.has_subcommands() && !self.begun.starts_with('-') {
            return Some(Place::Subcommand);
        }

        if self.takes_fields()
            && let Some((name, flags)) = arguments.split_first()
        {
            return match flags.last() {
                Some(flag) if flag.starts_with("--") && !self.begun.starts_with('-') => {
                    Some(Place::ValueOfField(name, flag.trim_start_matches('-')))
                }
                _ => Some(Place::Field(name)),
            };
        }
        if self.begun.starts_with('-') {
            return Some(Place::Option);
        }

        match (self.verb.get_name(), arguments) {
            ("call" | "notify" | "describe", []) => Some(Place::Command),
            ("list" | "health", []) => Some(Place::Service),
            ("completion", []) => {
                let shell = self.verb.get_positionals().next()?;
                Some(Place::ValueOf(shell))
            }
            _ => None,
        }
    }

    /// Whether flags behind the first argument are fields of the params.
    fn takes_fields(&self) -> bool {
        matches!(self.verb.get_name(), "call" | "notify")
    }

    fn option(&self, word: &str) -> Option<&'l Arg> {
        let long = word
            .strip_prefix("--")
            .map(|long| long.split('=').next().unwrap_or(long));
        let options = self
            .verb
            .get_arguments()
            .chain(self.program.get_arguments());
        let mut options = options.filter(|option| !option.is_positional());
        if let Some(long) = long {
            return options.find(|option| option.get_long() == Some(long));
        }
        let short = word.chars().nth(1)?;
        options.find(|option| option.get_short() == Some(short))
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::Arguments;

    /// The place under the cursor, and the options of the server, as text.
    fn place(line: &str) -> String {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let program = Arguments::command();
        let Some(line) = Line::read(&words, &program) else {
            return "nothing".to_owned();
        };

        let place = match &line.place {
            Place::Subcommand => format!("subcommand of {}", line.verb.get_name()),
            Place::Option => format!("option of {}", line.verb.get_name()),
            Place::ValueOf(option) => format!("value of {}", option.get_id()),
            Place::Service => "service".to_owned(),
            Place::Command => "command".to_owned(),
            Place::Field(name) => format!("field of {name}"),
            Place::ValueOfField(name, field) => format!("value of {field} of {name}"),
        };
        [place, line.server.join(" ")]
            .join(" | ")
            .trim_end_matches(" | ")
            .to_owned()
    }

    #[test]
    fn each_place_of_a_line_is_known() {
        for (line, expected) in [
            ("rpc ", "subcommand of rpc"),
            ("rpc ca", "subcommand of rpc"),
            ("rpc --ad", "option of rpc"),
            ("rpc --addr ", "value of addr"),
            ("rpc --addr a:1 call lo", "command | --addr a:1"),
            ("rpc call --addr=a:1 ", "command | --addr=a:1"),
            ("rpc call --timeout 5s --ordered ", "command | --timeout 5s"),
            ("rpc call --st", "option of call"),
            ("rpc call log.append ", "field of log.append"),
            (
                "rpc call log.append --level ",
                "value of level of log.append",
            ),
            (
                "rpc call log.append --level info --se",
                "field of log.append",
            ),
            ("rpc notify x", "command"),
            ("rpc describe ", "command"),
            ("rpc describe log.append ", "nothing"),
            ("rpc list ", "service"),
            ("rpc health l", "service"),
            ("rpc log ", "subcommand of log"),
            ("rpc log tail --le", "option of tail"),
            ("rpc log ship --journal --be", "option of ship"),
            ("rpc log ship --journal --begin ", "value of begin"),
            ("rpc completion ", "value of shell"),
            ("rpc pipe x", "nothing"),
        ] {
            assert_eq!(place(line), expected, "{line}");
        }
    }
}
