//! Secrets: read from the environment or from files, and shown nowhere.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::str::FromStr;

use super::MappingError;

/// Largest secret in bytes.
const BYTES_MAX: u64 = 64 * 1024;

/// The place where a secret is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// `env:NAME`: a variable of the environment.
    Env(String),
    /// `file:PATH`: a file that its owner alone can read. Line breaks at its end do not count.
    File(PathBuf),
}

impl FromStr for SecretSource {
    type Err = MappingError;

    fn from_str(text: &str) -> Result<Self, MappingError> {
        let named = |prefix| {
            text.strip_prefix(prefix)
                .filter(|rest: &&str| !rest.is_empty())
        };
        match (named("env:"), named("file:")) {
            (Some(name), _) => Ok(Self::Env(name.to_owned())),
            (_, Some(path)) => Ok(Self::File(path.into())),
            // The value is not repeated: it may be the secret itself.
            _ => Err(MappingError::new(
                "it must be \"env:VARIABLE\" or \"file:PATH\": a secret does not belong in the settings",
            )),
        }
    }
}

impl SecretSource {
    /// Reads the secret. It blocks.
    ///
    /// # Errors
    /// The variable or file does not exist or is not text, or others may read the file. The secret is not repeated.
    pub fn read(&self) -> Result<String, MappingError> {
        match self {
            Self::Env(name) => {
                let value = std::env::var(name).ok().filter(|value| !value.is_empty());
                value.ok_or_else(|| MappingError::new(format!("the variable {name} is not set")))
            }
            Self::File(path) => {
                let wrong = |what: &str| MappingError::new(format!("{}: {what}", path.display()));
                read_file(path).map_err(|what| wrong(&what))
            }
        }
    }
}

fn read_file(path: &PathBuf) -> Result<String, String> {
    let mut file = File::open(path).map_err(|error| error.to_string())?;
    let found = file.metadata().map_err(|error| error.to_string())?;
    if !found.is_file() {
        return Err("it is not a file".into());
    }
    if found.permissions().mode() & 0o077 != 0 {
        let mode = found.permissions().mode() & 0o777;
        return Err(format!(
            "its mode is {mode:03o}, so that others may read it; `chmod 600` it"
        ));
    }

    let mut text = String::new();
    let read = file.by_ref().take(BYTES_MAX + 1).read_to_string(&mut text);
    read.map_err(|_| "it is not text".to_owned())?;
    if text.len() as u64 > BYTES_MAX {
        return Err(format!("it has more than {BYTES_MAX} bytes"));
    }

    let secret = text.trim_end_matches(['\r', '\n']);
    if secret.is_empty() {
        return Err("it is empty".into());
    }
    Ok(secret.to_owned())
}

/// The secrets of a gateway by their names.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secrets(BTreeMap<String, String>);

impl Secrets {
    /// Reads secrets by their names and sources. It blocks.
    ///
    /// # Errors
    /// One that cannot be read, with its name. The secret is not repeated.
    pub fn read(sources: &BTreeMap<String, String>) -> Result<Self, MappingError> {
        let read = sources.iter().map(|(name, source)| {
            let secret = source
                .parse::<SecretSource>()
                .and_then(|source| source.read());
            let secret = secret
                .map_err(|error| MappingError::new(format!("`http.secrets.{name}`: {error}")));
            Ok((name.clone(), secret?))
        });
        Ok(Self(read.collect::<Result<_, MappingError>>()?))
    }

    /// The secret of a name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

/// Shows the names alone.
impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{Permissions, set_permissions, write};

    use super::*;

    fn read(source: &str) -> Result<String, String> {
        let sources = BTreeMap::from([("token".to_owned(), source.to_owned())]);
        let secrets = Secrets::read(&sources).map_err(|error| error.to_string())?;
        assert!(!format!("{secrets:?}").contains(secrets.get("token").unwrap()));
        Ok(secrets.get("token").unwrap().to_owned())
    }

    #[test]
    fn secrets_come_from_the_environment_and_from_files_that_others_cannot_read() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        let source = format!("file:{}", file.display());
        write(&file, "s3cret\n").unwrap();

        set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
        let error = read(&source).unwrap_err();
        assert!(
            error.contains("`http.secrets.token`: ") && error.contains("mode is 640"),
            "{error}"
        );
        assert!(!error.contains("s3cret"), "{error}");
        set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        assert_eq!(read(&source).unwrap(), "s3cret");

        write(&file, "\n").unwrap();
        assert!(read(&source).unwrap_err().contains("it is empty"));
        write(&file, "a".repeat(64 * 1024 + 1)).unwrap();
        assert!(read(&source).unwrap_err().contains("more than 65536 bytes"));
        write(&file, [0xff]).unwrap();
        assert!(read(&source).unwrap_err().contains("not text"));
        let dir = format!("file:{}", dir.path().display());
        assert!(read(&dir).unwrap_err().contains("not a file"));
        assert!(
            read("file:/nonexistent/token")
                .unwrap_err()
                .contains("No such file")
        );

        assert_eq!(read("env:CARGO_PKG_NAME").unwrap(), "rpc-sms");
        let error = read("env:NO_SUCH_VARIABLE_4711").unwrap_err();
        assert!(
            error.contains("NO_SUCH_VARIABLE_4711 is not set"),
            "{error}"
        );
        for plain in ["hunter2", "env:", "file:"] {
            let error = read(plain).unwrap_err();
            assert!(
                error.contains("env:VARIABLE") && !error.contains("hunter2"),
                "{error}"
            );
        }
    }
}
