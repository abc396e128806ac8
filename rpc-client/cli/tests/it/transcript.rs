//! Transcripts of documents: commands at a prompt, and what each prints.

/// A command, and what it prints.
pub(crate) type Command = (&'static str, String);

/// The section of a document with the operator's day.
pub(crate) fn operators_day(document: &'static str) -> &'static str {
    let behind = document.split("\n## An operator's day\n").nth(1).unwrap();
    behind.split("\n## ").next().unwrap()
}

/// The commands of the blocks marked `console`.
pub(crate) fn commands(text: &'static str) -> Vec<Command> {
    let mut commands: Vec<Command> = Vec::new();
    for block in text.split("```console\n").skip(1) {
        for line in block.split("```").next().unwrap().lines() {
            match (line.strip_prefix("$ "), commands.last_mut()) {
                (Some(command), _) => commands.push((command, String::new())),
                (None, Some((_, printed))) => {
                    printed.push_str(line);
                    printed.push('\n');
                }
                (None, None) => panic!("`{line}` is printed by no command"),
            }
        }
    }
    commands
}
