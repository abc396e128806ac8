//! The values that take the places of placeholders in one attempt.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::sign::Moment;
use crate::mapping::{Placeholder, Secrets};
use crate::store::{Claimed, Content};
use crate::text::Encoding;

/// The values of one attempt.
pub(super) struct Values<'a> {
    pub(super) message: &'a Claimed,
    pub(super) sender: &'a str,
    /// The provider's name of the template.
    pub(super) template: &'a str,
    pub(super) secrets: &'a Secrets,
    /// The address that receipts are taken at.
    pub(super) callback: &'a str,
    pub(super) moment: Moment,
}

impl Values<'_> {
    /// The value of a placeholder; empty where the message has none.
    pub(super) fn get(&self, placeholder: &Placeholder) -> Cow<'_, str> {
        let message = self.message;
        let is_unicode = message.layout.encoding == Encoding::Ucs2;

        match placeholder {
            Placeholder::To => message.to.e164().into(),
            Placeholder::ToDigits => message.to.digits().into(),
            Placeholder::ToNational => message.to.national().into(),
            Placeholder::Country => message.to.country().into(),
            Placeholder::Text => self.text().into(),
            Placeholder::Sender => self.sender.into(),
            Placeholder::Id => self.id().into(),
            Placeholder::Template => self.template.into(),
            Placeholder::VarsJson => self.vars().into(),
            Placeholder::Segments => message.layout.segments.to_string().into(),
            Placeholder::Unicode => is_unicode.to_string().into(),
            Placeholder::Unicode2 => if is_unicode { "2" } else { "0" }.into(),
            Placeholder::IfUnicode(yes, no) => if is_unicode { yes } else { no }.clone().into(),
            Placeholder::Callback => self.callback.into(),
            Placeholder::NowS => self.moment.now.as_second().to_string().into(),
            Placeholder::NowIso => self.moment.iso().into(),
            Placeholder::Nonce => self.moment.nonce.as_str().into(),
            Placeholder::Secret(name) => self.secrets.get(name).unwrap_or_default().into(),
            Placeholder::Var(name) => self.var(name).into(),
        }
    }

    fn id(&self) -> String {
        match self.message.attempt {
            0 | 1 => self.message.id.to_string(),
            attempt => format!("{}-{attempt}", self.message.id),
        }
    }

    fn text(&self) -> &str {
        match &self.message.content {
            Content::Text(text) => text,
            Content::Template { .. } => "",
        }
    }

    fn vars(&self) -> &str {
        match &self.message.content {
            Content::Text(_) => "",
            Content::Template { vars, .. } => vars,
        }
    }

    fn var(&self, name: &str) -> String {
        // They were checked when the message was accepted; a text has none.
        let vars: BTreeMap<String, String> = serde_json::from_str(self.vars()).unwrap_or_default();
        vars.get(name).cloned().unwrap_or_default()
    }
}
