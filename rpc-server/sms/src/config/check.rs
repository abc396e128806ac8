//! Checks of the settings.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::{ClassSettings, GatewayKind, HttpSettings, SmsSettings, check_http, check_receipt};
use crate::limits::{QuietHours, Rate};
use crate::mapping::did_you_mean;
use crate::message::Class;
use crate::number::{Number, NumberKind};

/// What is wrong with a setting: its place, its value, and what would be right.
pub type Mistake = String;

/// Longest time that a setting may name: about 31 years.
const SECONDS_MAX: u64 = 1_000_000_000;

impl SmsSettings {
    /// Everything that is wrong with what the settings say by themselves.
    pub fn mistakes(&self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        self.check_values(&mut mistakes);
        self.check_destinations(&mut mistakes);
        self.check_grants(&mut mistakes);
        for class in Class::ALL {
            check_class(*class, self.class(*class), &mut mistakes);
        }
        self.check_gateways(&mut mistakes);
        self.check_files(&mut mistakes);
        self.check_routes(&mut mistakes);
        check_receipt::check(self, &mut mistakes);
        mistakes
    }

    /// Everything that is wrong with the files and variables that the settings name: secrets that cannot be read, for
    /// example. It blocks. Secrets are not repeated.
    pub fn mistakes_of_files(&self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        let over_http = self
            .gateways
            .iter()
            .filter(|gateway| gateway.kind == GatewayKind::Http);
        for gateway in over_http {
            check_http::check_files(gateway, &mut mistakes);
        }
        mistakes
    }

    fn check_values(&self, mistakes: &mut Vec<Mistake>) {
        let data = &self.data;
        if data.is_empty() || data.contains('/') {
            mistakes.push(format!(
                "[sms] `data` = \"{data}\" must be the name of a file, for example \"sms.sqlite\""
            ));
        }

        let at_least_1 = [
            ("segments_max", u64::from(self.segments_max)),
            ("queue_max", self.queue_max),
            ("key_days", u64::from(self.key_days)),
            ("attempts_max", u64::from(self.attempts_max)),
            ("receipt_wait_s", self.receipt_wait_s),
            ("keep_days", u64::from(self.keep_days)),
            (
                "erase_number_after_days",
                u64::from(self.erase_number_after_days),
            ),
        ];
        for (name, value) in at_least_1 {
            if value == 0 {
                mistakes.push(format!("[sms] `{name}` is 0 and must be at least 1"));
            }
        }
        for (name, value) in [
            ("receipt_wait_s", self.receipt_wait_s),
            ("erase_text_after_s", self.erase_text_after_s),
        ] {
            if value > SECONDS_MAX {
                mistakes.push(format!(
                    "[sms] `{name}` is {value} and may be at most {SECONDS_MAX}"
                ));
            }
        }
        if self.keep_days < self.key_days {
            mistakes.push(format!(
                "[sms] `keep_days` is {}, but keys are kept for `key_days` ({}): raise `keep_days` to that, or keys \
                 are forgotten too early",
                self.keep_days, self.key_days
            ));
        }
    }

    fn check_destinations(&self, mistakes: &mut Vec<Mistake>) {
        let region = &self.default_region;
        if !region.is_empty() && !Number::is_region(region) {
            mistakes.push(format!(
                "[sms] `default_region` = \"{region}\" is not a country; write its two letters in upper case, for \
                 example \"CN\""
            ));
        }

        for country in &self.countries {
            if country != "*" && !Number::is_region(country) {
                mistakes.push(format!(
                    "[sms] `countries`: \"{country}\" is not a country; write its two letters in upper case, for \
                     example \"CN\", or \"*\" for all"
                ));
            }
        }

        for kind in &self.refuse_types {
            let known = NumberKind::ALL.map(NumberKind::as_str);
            if !known.contains(&kind.as_str()) {
                let near = did_you_mean(kind, known);
                let known = known.join(", ");
                mistakes.push(format!("[sms] `refuse_types`: \"{kind}\" is not a kind of number{near} The kinds are {known}"));
            }
        }

        let sends = self
            .gateways
            .iter()
            .any(|gateway| gateway.kind != GatewayKind::File);
        if sends && self.countries.is_empty() {
            mistakes.push(
                "[sms] `countries` is empty, but there are gateways that send: name the countries that messages may go to, as \
                 [\"CN\", \"DE\"], or [\"*\"] for all"
                    .into(),
            );
        }
    }

    fn check_grants(&self, mistakes: &mut Vec<Mistake>) {
        let grants = [
            ("all", &self.grants.all),
            ("reveal", &self.grants.reveal),
            ("may_double", &self.grants.may_double),
        ];
        for (name, identities) in grants {
            if identities
                .iter()
                .any(|identity| identity == "*" || identity.is_empty())
            {
                mistakes.push(format!(
                    "[sms.grants] `{name}` must name identities; \"*\" is not allowed here"
                ));
            }
        }
    }

    fn check_gateways(&self, mistakes: &mut Vec<Mistake>) {
        let mut names = BTreeSet::new();
        for (place, gateway) in self.gateways.iter().enumerate() {
            let name = &gateway.name;
            let is_word = |character: char| {
                character.is_ascii_alphanumeric() || matches!(character, '_' | '-')
            };

            if name.is_empty() || name.len() > 32 || !name.chars().all(is_word) {
                let place = place + 1;
                mistakes.push(format!(
                    "[[sms.gateways]] number {place}: `name` = \"{name}\" must have 1 to 32 letters, digits, `_` or `-`"
                ));
            }

            if !names.insert(name) {
                mistakes.push(format!(
                    "[[sms.gateways]] \"{name}\" is not unique; give each gateway a name of its own"
                ));
            }

            if gateway.in_flight_max == 0 {
                mistakes.push(format!(
                    "[[sms.gateways]] \"{name}\": `in_flight_max` is 0 and must be at least 1"
                ));
            }

            if gateway.file.is_empty() || gateway.file.contains('/') {
                let file = &gateway.file;
                mistakes.push(format!(
                    "[[sms.gateways]] \"{name}\": `file` = \"{file}\" must be the name of a file, for example \
                     \"sms-out.ndjson\""
                ));
            }

            match gateway.kind {
                GatewayKind::Http => check_http::check(gateway, mistakes),
                GatewayKind::File if gateway.http != HttpSettings::default() => {
                    mistakes.push(format!(
                        "[[sms.gateways]] \"{name}\": `http` is for `kind` = \"http\", and its `kind` is \"file\": change one of them"
                    ));
                }
                GatewayKind::File => {}
            }
        }
    }

    /// Two gateways that write to one file would each cut off what the other has written when the disk is full.
    fn check_files(&self, mistakes: &mut Vec<Mistake>) {
        let data = &self.data;
        let of_sqlite = ["", "-wal", "-shm", "-journal"].map(|end| format!("{data}{end}").into());
        let beside = ["lock", "key", "key.new"].map(|end| Path::new(data).with_extension(end));
        let of_outbox: Vec<PathBuf> = of_sqlite.into_iter().chain(beside).collect();

        let mut owners = BTreeMap::new();
        let of_files = self
            .gateways
            .iter()
            .filter(|gateway| gateway.kind == GatewayKind::File);
        for gateway in of_files {
            let (name, file) = (&gateway.name, &gateway.file);
            if !data.is_empty() && of_outbox.iter().any(|it| it == Path::new(file)) {
                mistakes.push(format!(
                    "[[sms.gateways]] \"{name}\": `file` = \"{file}\" is a file of the outbox (`data` = \"{data}\"); name \
                     another one, for example \"sms-out.ndjson\""
                ));
            }
            match owners.get(file) {
                Some(owner) => mistakes.push(format!(
                    "[[sms.gateways]] \"{name}\": `file` = \"{file}\" is that of gateway \"{owner}\", too; give each \
                     gateway a file of its own"
                )),
                None => {
                    owners.insert(file, name);
                }
            }
        }
    }

    fn check_routes(&self, mistakes: &mut Vec<Mistake>) {
        let gateways = self.gateways();
        let known: Vec<&str> = gateways
            .iter()
            .map(|gateway| gateway.name.as_str())
            .collect();

        for (place, route) in self.routes.iter().enumerate() {
            let place = place + 1;
            if route.gateways.is_empty() {
                mistakes.push(format!(
                    "[[sms.routes]] number {place}: `gateways` is empty; name at least one"
                ));
            }
            for name in &route.gateways {
                if !known.contains(&name.as_str()) {
                    let near = did_you_mean(name, known.iter().copied());
                    mistakes.push(format!(
                        "[[sms.routes]] number {place}: there is no gateway \"{name}\"{near}"
                    ));
                }
            }
            for country in &route.country {
                if !Number::is_region(country) {
                    mistakes.push(format!(
                        "[[sms.routes]] number {place}: \"{country}\" is not a country; write its two letters in \
                         upper case, for example \"CN\""
                    ));
                }
            }
        }
    }
}

fn check_class(class: Class, settings: &ClassSettings, mistakes: &mut Vec<Mistake>) {
    if settings.priority > 9 {
        mistakes.push(format!(
            "[sms.class.{class}] `priority` is {} and must be from 0 to 9",
            settings.priority
        ));
    }
    if settings.expires_s > SECONDS_MAX {
        mistakes.push(format!(
            "[sms.class.{class}] `expires_s` is {} and may be at most {SECONDS_MAX}",
            settings.expires_s
        ));
    }

    for (name, rates) in [
        ("per_number", &settings.per_number),
        ("per_prefix", &settings.per_prefix),
    ] {
        let wrong = rates.iter().filter_map(|rate| rate.parse::<Rate>().err());
        mistakes.extend(wrong.map(|error| format!("[sms.class.{class}] `{name}`: {error}")));
    }

    if let Some(quiet) = &settings.quiet {
        if class != Class::Marketing {
            mistakes.push(format!(
                "[sms.class.{class}] `quiet` is allowed only for the class marketing, because recipients wait for \
                 messages of this class; remove `quiet`"
            ));
        }
        let checked = QuietHours::new(&quiet.hours, &quiet.zone);
        mistakes.extend(
            checked
                .err()
                .map(|error| format!("[sms.class.{class}] `quiet`: {error}")),
        );
    }
}
