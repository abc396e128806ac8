//! Decides what becomes of a message before it is accepted: where it goes, and whether it may.

use std::fmt::Write as _;

use ring::digest;
use rpc_core::api::sms::Send;

use super::Lane;
use crate::config::SmsSettings;
use crate::limits::QuietHours;
use crate::message::Class;
use crate::number::{Number, NumberError};
use crate::store::{Content, NewMessage};
use crate::text::Layout;

/// Maximum lengths, in bytes.
const SENDER_BYTES_MAX: usize = 32;
const TEMPLATE_BYTES_MAX: usize = 64;
const VARS_BYTES_MAX: usize = 4096;
const TAG_NAME_BYTES_MAX: usize = 32;
const TAG_BYTES_MAX: usize = 128;
const TAGS_MAX: usize = 8;
/// Largest time that a setting or a call may name: the end of the year 9999.
const TIME_MAX: u64 = 253_402_300_799_999;

/// The rules of the settings.
pub struct Planner {
    settings: SmsSettings,
    quiet: Option<QuietHours>,
}

/// A reason that a message is not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// A field is not what it must be.
    Invalid(String),
    /// `to` is not a number.
    Number(NumberError),
    /// No message goes there.
    Destination(String),
    /// The text cannot be sent.
    Text(String),
    /// No gateway knows the template.
    Template(String),
    /// No gateway takes it.
    NoGateway(String),
}

impl Problem {
    /// The reason in words.
    pub fn message(&self) -> String {
        match self {
            Self::Number(error) => format!("`to` is not a phone number: {error}"),
            Self::Template(template) => format!("no gateway knows the template `{template}`"),
            Self::Invalid(message)
            | Self::Destination(message)
            | Self::Text(message)
            | Self::NoGateway(message) => message.clone(),
        }
    }
}

/// What would become of a message.
pub struct Plan {
    /// Where it goes.
    pub to: Number,
    /// Its encoding and segments.
    pub layout: Layout,
    /// What it is for.
    pub class: Class,
    /// The gateway that it would wait for.
    pub gateway: Option<String>,
    /// Whether that one sends nothing.
    pub is_dry_run: bool,
    /// Why it would not be accepted.
    pub problems: Vec<Problem>,
}

impl Planner {
    pub(super) fn new(settings: &SmsSettings) -> Self {
        let quiet = settings.class.marketing.quiet.as_ref();
        Self {
            quiet: quiet.and_then(|quiet| QuietHours::new(&quiet.hours, &quiet.zone).ok()),
            settings: settings.clone(),
        }
    }

    /// Reads a number as `to` is read.
    ///
    /// # Errors
    /// What is not a number.
    pub fn number(&self, to: &str) -> Result<Number, NumberError> {
        let region =
            Some(self.settings.default_region.as_str()).filter(|region| !region.is_empty());
        Number::parse(to, region)
    }

    /// Whether `send` needs a key.
    pub fn requires_key(&self) -> bool {
        self.settings.require_key
    }

    /// The settings.
    pub fn settings(&self) -> &SmsSettings {
        &self.settings
    }

    /// The end of the quiet hours of marketing, if these are any.
    pub fn quiet_until(&self, now: u64) -> Option<u64> {
        self.quiet.as_ref()?.end_of(now)
    }

    /// When a message of a class expires that is accepted now.
    pub fn expires_at(&self, class: Class, now: u64) -> Option<u64> {
        let seconds = self.settings.class(class).expires_s;
        (seconds > 0).then(|| now + seconds * 1000)
    }

    /// The names of the gateways of a number, in the order in which they are tried.
    pub fn route<'l>(&self, to: &Number, lanes: &'l [std::sync::Arc<Lane>]) -> Vec<&'l Lane> {
        let all = || lanes.iter().map(AsRef::as_ref).collect();
        if self.settings.routes.is_empty() {
            return all();
        }

        let of_country = |country: &[String]| {
            country.is_empty() || country.iter().any(|one| one == to.country())
        };
        let route = self
            .settings
            .routes
            .iter()
            .find(|route| of_country(&route.country));
        let names = route.into_iter().flat_map(|route| &route.gateways);
        names
            .filter_map(|name| lanes.iter().find(|lane| lane.name() == name))
            .map(AsRef::as_ref)
            .collect()
    }

    /// What would become of a message.
    ///
    /// # Errors
    /// A number that cannot be read: of such a message nothing can be told.
    pub fn plan(
        &self,
        send: &Send,
        lanes: &[std::sync::Arc<Lane>],
        now: u64,
    ) -> Result<Plan, Problem> {
        let to = self.number(&send.to).map_err(Problem::Number)?;
        let mut problems = Vec::new();
        self.check_destination(&to, &mut problems);

        let layout = Layout::of(send.text.as_deref().unwrap_or_default());
        self.check_content(send, layout, &mut problems);
        check_fields(send, now, &mut problems);

        let lane = self.choose(send, &to, lanes);
        let (gateway, is_dry_run) = match &lane {
            Ok(lane) => (Some(lane.name().to_owned()), lane.is_dry_run()),
            Err(_) => (None, false),
        };
        problems.extend(lane.err());

        Ok(Plan {
            to,
            layout,
            class: send.class.unwrap_or_default(),
            gateway,
            is_dry_run,
            problems,
        })
    }

    /// The message of a plan without problems.
    pub fn message(&self, plan: &Plan, send: Send, owner: String, now: u64) -> NewMessage {
        let digest = digest_of(&send);
        let content = match (send.text, send.template) {
            (Some(text), _) => Content::Text(text),
            (None, name) => Content::Template {
                name: name.unwrap_or_default(),
                vars: serde_json::to_string(&send.vars).expect("texts by texts are JSON"),
            },
        };

        let class = plan.class;
        let quiet_until = self.quiet_until(now).filter(|_| class == Class::Marketing);
        NewMessage {
            owner,
            key: None,
            first_sent_at: None,
            digest,
            to: plan.to.clone(),
            content,
            sender: send.sender,
            class,
            priority: send.priority.unwrap_or(self.settings.class(class).priority),
            not_before: send.not_before.max(quiet_until),
            expires_at: send
                .expires_at
                .or_else(|| self.expires_at(class, now.max(send.not_before.unwrap_or(0)))),
            tags: send.tags,
            layout: plan.layout,
            gateway: plan.gateway.clone().unwrap_or_default(),
        }
    }

    fn check_destination(&self, to: &Number, problems: &mut Vec<Problem>) {
        let (country, countries) = (to.country(), &self.settings.countries);
        let is_allowed =
            countries.is_empty() || countries.iter().any(|one| one == "*" || one == country);
        if !is_allowed {
            problems.push(Problem::Destination(format!(
                "messages to {country} are not allowed; `countries` of [sms] names those that are"
            )));
        }

        let kind = to.kind().as_str();
        if self
            .settings
            .refuse_types
            .iter()
            .any(|refused| refused == kind)
        {
            problems.push(Problem::Destination(format!(
                "numbers of kind `{kind}` get no messages"
            )));
        }
    }

    fn check_content(&self, send: &Send, layout: Layout, problems: &mut Vec<Problem>) {
        let mut note = |problem| problems.push(problem);
        match (&send.text, &send.template) {
            (Some(_), Some(_)) => note(Problem::Invalid(
                "`text` and `template` are both set; set one of them".into(),
            )),
            (None, None) => note(Problem::Invalid(
                "neither `text` nor `template` is set; set one of them".into(),
            )),
            (Some(text), None) => {
                if text.is_empty() {
                    note(Problem::Text("it is empty".into()));
                }

                if text.contains('\0') {
                    note(Problem::Text("it has a NUL character".into()));
                }

                let (segments, max) = (layout.segments, self.settings.segments_max);
                if segments > max {
                    note(Problem::Text(format!(
                        "it takes {segments} segments, and may take at most {max}"
                    )));
                }

                if !send.vars.is_empty() {
                    note(Problem::Invalid(
                        "`vars` belong to a `template`, but the message has a `text`".into(),
                    ));
                }
            }
            (None, Some(template)) => {
                if template.is_empty() || template.len() > TEMPLATE_BYTES_MAX {
                    note(Problem::Invalid(format!(
                        "`template` must have 1 to {TEMPLATE_BYTES_MAX} bytes"
                    )));
                }

                let bytes: usize = send
                    .vars
                    .iter()
                    .map(|(name, value)| name.len() + value.len())
                    .sum();
                if bytes > VARS_BYTES_MAX {
                    note(Problem::Invalid(format!(
                        "`vars` have {bytes} bytes and may have at most {VARS_BYTES_MAX}"
                    )));
                }
            }
        }
    }

    /// The gateway that a message waits for: the first of its route that takes it and is up, else the first that takes it.
    fn choose<'l>(
        &self,
        send: &Send,
        to: &Number,
        lanes: &'l [std::sync::Arc<Lane>],
    ) -> Result<&'l Lane, Problem> {
        let route = match &send.gateway {
            Some(name) => {
                let named = lanes.iter().find(|lane| lane.name() == name);
                let missing =
                    || Problem::NoGateway(format!("there is no gateway `{}`", printable(name)));
                vec![named.ok_or_else(missing)?.as_ref()]
            }
            None => self.route(to, lanes),
        };
        if route.is_empty() {
            return Err(Problem::NoGateway(format!(
                "no route of [sms] leads to {}",
                to.country()
            )));
        }

        let takes = |lane: &&&Lane| match &send.template {
            Some(template) => lane.takes_template(template),
            None => lane.takes_text(),
        };
        let fitting: Vec<&&Lane> = route.iter().filter(takes).collect();
        let up = fitting.iter().find(|lane| lane.is_up());
        match (up.or(fitting.first()), &send.template) {
            (Some(lane), _) => Ok(lane),
            (None, Some(template)) => Err(Problem::Template(printable(template))),
            (None, None) => Err(Problem::NoGateway(
                "the gateways of this destination take templates only".into(),
            )),
        }
    }
}

fn check_fields(send: &Send, now: u64, problems: &mut Vec<Problem>) {
    let mut note = |message: String| problems.push(Problem::Invalid(message));

    if let Some(priority) = send.priority.filter(|priority| *priority > 9) {
        note(format!("`priority` is {priority} and must be from 0 to 9"));
    }
    if let Some(sender) = &send.sender
        && (sender.is_empty()
            || sender.len() > SENDER_BYTES_MAX
            || sender.contains(char::is_control))
    {
        note(format!(
            "`sender` must have 1 to {SENDER_BYTES_MAX} bytes and no control characters"
        ));
    }

    for (name, time) in [
        ("not_before", send.not_before),
        ("expires_at", send.expires_at),
    ] {
        if let Some(time) = time.filter(|time| *time > TIME_MAX) {
            note(format!(
                "`{name}` is {time}, which is after the year 9999: it is in milliseconds since 1970"
            ));
        }
    }
    if let Some(expires_at) = send.expires_at {
        if expires_at <= now {
            note(format!(
                "`expires_at` is {expires_at}, which is in the past; give milliseconds since 1970"
            ));
        } else if let Some(not_before) = send
            .not_before
            .filter(|not_before| *not_before >= expires_at)
        {
            note(format!(
                "`expires_at` is {expires_at} and must be after `not_before`, which is {not_before}"
            ));
        }
    }

    if send.tags.len() > TAGS_MAX {
        note(format!(
            "`tags` has {} tags and may have at most {TAGS_MAX}",
            send.tags.len()
        ));
    }
    for (name, value) in &send.tags {
        if name.is_empty()
            || name.len() > TAG_NAME_BYTES_MAX
            || name.contains('=')
            || value.len() > TAG_BYTES_MAX
        {
            note(format!(
                "`tags`: a name has 1 to {TAG_NAME_BYTES_MAX} bytes without `=`, and a value at most {TAG_BYTES_MAX}"
            ));
        }
    }
}

/// What a repetition has in common with its message.
fn digest_of(send: &Send) -> [u8; 32] {
    let json = serde_json::to_vec(send).expect("params that were read can be written");
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest::digest(&digest::SHA256, &json).as_ref());
    bytes
}

/// A name of the caller's, bounded and without control characters.
fn printable(name: &str) -> String {
    let mut shown = String::new();
    for character in name.chars().take(64) {
        let _ = write!(shown, "{}", character.escape_debug());
    }
    shown
}
