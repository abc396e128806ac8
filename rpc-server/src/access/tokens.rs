//! Tokens: only their hashes are kept.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use subtle::{ConditionallySelectable, ConstantTimeEq};

use super::TokenHash;

/// Characters that a token has at least: 128 bits in base64 without padding. Of fewer, the hash could be
/// turned back by trying.
const TOKEN_CHARS_MIN: usize = 22;

/// No token is longer; one that is need not be hashed.
const TOKEN_BYTES_MAX: usize = 4096;

/// Longest file of tokens, in bytes: some ten thousand of them.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The tokens that a server knows, by their SHA-256, and whose they are.
///
/// As text: one line for each, the identity, white space, and 64 hexadecimal digits. An identity may have
/// several, so that one can follow another. Empty lines, and those that begin with `#`, say nothing.
///
/// A plain hash is right for what cannot be guessed: a token is 128 random bits or more, and no password.
///
/// ```
/// use rpc_server::Tokens;
///
/// let line = format!("order-service {}", Tokens::hash("9hAJsTMQHs3cA2BnMYD8oA7zKk7uE9iC").unwrap());
/// let tokens = Tokens::parse(&line)?;
/// # let _ = tokens;
/// # Ok::<(), rpc_server::TokensError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Tokens(BTreeMap<TokenHash, Arc<str>>);

impl Tokens {
    /// Reads tokens from text.
    ///
    /// # Errors
    /// The line's number, and what is wrong with it; never the hash.
    pub fn parse(text: &str) -> Result<Self, TokensError> {
        let mut tokens = BTreeMap::new();
        let lines = text
            .lines()
            .enumerate()
            .map(|(index, line)| (index + 1, line.trim()));

        for (number, line) in lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
            let wrong = |what| TokensError {
                line: Some(number),
                ..TokensError::new(what)
            };
            let mut words = line.split_whitespace();
            let (Some(identity), Some(hash), None) = (words.next(), words.next(), words.next())
            else {
                return Err(wrong(
                    "must be an identity and a token's hash, for example `order-service 5e88…`",
                ));
            };

            let hash = parse_hash(hash).ok_or_else(|| {
                wrong("the hash must be 64 hexadecimal digits, as `rpc-server --hash-token` prints")
            })?;

            match tokens.insert(hash, Arc::from(identity)) {
                Some(other) if *other != *identity => {
                    return Err(wrong(
                        "another identity has the same token; give each its own",
                    ));
                }
                _ => {}
            }
        }

        Ok(Self(tokens))
    }

    /// Reads a file of tokens.
    ///
    /// # Errors
    /// The file, and why it cannot be read, or what is wrong in it. A file that everybody may write is
    /// refused.
    pub fn load(file: &Path) -> Result<Self, TokensError> {
        let read = || -> Result<String, TokensError> {
            let about = std::fs::metadata(file)?;
            if about.len() > FILE_BYTES_MAX {
                let message = format!("is longer than {FILE_BYTES_MAX} bytes");
                return Err(TokensError::new(message));
            }

            #[cfg(unix)]
            {
                let mode = std::os::unix::fs::PermissionsExt::mode(&about.permissions()) & 0o7777;
                if mode & 0o002 != 0 {
                    let message = format!(
                        "other users may write it (mode {mode:04o}); set its mode to 0640 or less"
                    );
                    return Err(TokensError::new(message));
                }
            }

            Ok(std::fs::read_to_string(file)?)
        };

        read()
            .and_then(|text| Self::parse(&text))
            .map_err(|error| TokensError {
                file: Some(file.to_owned()),
                ..error
            })
    }

    /// The hash of a token, as written in a file; none where the token is too short to be a good one
    /// (22 characters, which is 128 bits in base64).
    pub fn hash(token: &str) -> Option<String> {
        (token.chars().count() >= TOKEN_CHARS_MIN).then(|| {
            hash_of(token)
                .iter()
                .fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
        })
    }

    /// Whose the token is. It takes as long whichever it is, and for a wrong one.
    pub(super) fn find(&self, token: &str) -> Option<(Arc<str>, TokenHash)> {
        if token.len() > TOKEN_BYTES_MAX {
            return None;
        }

        let hash = hash_of(token);
        let mut found = u64::MAX;
        for (index, known) in (0_u64..).zip(self.0.keys()) {
            found.conditional_assign(&index, known.as_slice().ct_eq(&hash));
        }

        let index = usize::try_from(found).ok()?;
        self.0
            .values()
            .nth(index)
            .map(|identity| (Arc::clone(identity), hash))
    }

    pub(super) fn has(&self, hash: &TokenHash) -> bool {
        self.0.contains_key(hash)
    }
}

/// Shows how many there are, and none of them.
impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens")
            .field("len", &self.0.len())
            .finish_non_exhaustive()
    }
}

fn hash_of(token: &str) -> TokenHash {
    Sha256::digest(token.as_bytes()).into()
}

fn parse_hash(text: &str) -> Option<TokenHash> {
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }

    let mut hash = [0; 32];
    for (index, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[index * 2..index * 2 + 2], 16).ok()?;
    }

    Some(hash)
}

/// Why tokens cannot be read; one line for an operator.
#[derive(Debug, Clone)]
pub struct TokensError {
    file: Option<PathBuf>,
    line: Option<usize>,
    message: Cow<'static, str>,
    source: Option<Arc<io::Error>>,
}

impl TokensError {
    fn new(message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            file: None,
            line: None,
            message: message.into(),
            source: None,
        }
    }

    /// The file, where the tokens were to be read from one.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// The line that is wrong, counted from 1; `None` if the file could not be read.
    pub fn line(&self) -> Option<usize> {
        self.line
    }
}

impl From<io::Error> for TokensError {
    fn from(error: io::Error) -> Self {
        Self {
            source: Some(Arc::new(error)),
            ..Self::new("")
        }
    }
}

impl fmt::Display for TokensError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{}: ", file.display())?;
        }
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }

        match &self.source {
            Some(error) => error.fmt(f),
            None => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for TokensError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

#[cfg(test)]
mod tests;
