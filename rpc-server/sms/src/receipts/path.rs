//! The paths that providers ask for, each of a gateway.

use std::net::IpAddr;

use hyper::HeaderMap;
use hyper::Method;

use super::report::{Report, Source, read};
use super::verify::{is_same, is_twilios};
use crate::config::{
    GatewaySettings, ReceiptFormat, ReceiptProof, ReceiptSettings, SmsSettings, TwilioProof,
};
use crate::mapping::{AddressRange, FormatString, Placeholder, Secrets};
use crate::outbox::OpenError;
use crate::store::ReceiptScope;

/// The header of Twilio's signature.
const TWILIO_SIGNATURE: &str = "x-twilio-signature";

/// The paths of all gateways that have receipts.
pub struct ReceiptPaths(Vec<ReceiptPath>);

/// The path of a gateway.
pub(super) struct ReceiptPath {
    pub(super) gateway: String,
    pub(super) settings: ReceiptSettings,
    scope: ReceiptScope,
    /// The secret of the proof.
    secret: String,
    /// The addresses that receipts come from; all where it is empty.
    allow: Vec<AddressRange>,
}

impl ReceiptPaths {
    /// The paths of settings that were checked. It blocks: secrets are read.
    ///
    /// # Errors
    /// A secret that cannot be read.
    pub fn of(settings: &SmsSettings) -> Result<Self, OpenError> {
        let mut paths = Vec::new();
        for gateway in &settings.gateways {
            if let Some(receipt) = &gateway.receipt {
                paths.push(ReceiptPath::of(gateway, receipt)?);
            }
        }
        Ok(Self(paths))
    }

    /// The gateway that a request's path belongs to, if it shows the secret that belongs there.
    pub(super) fn find(&self, path: &str, method: &Method) -> Option<&ReceiptPath> {
        self.0
            .iter()
            .find(|known| known.takes(method) && known.is_at(path))
    }
}

impl ReceiptPath {
    fn of(gateway: &GatewaySettings, settings: &ReceiptSettings) -> Result<Self, OpenError> {
        let failed = |error| OpenError::Gateway {
            name: gateway.name.clone(),
            error,
        };
        let proof = settings.verify.as_ref();
        let text = proof
            .and_then(ReceiptProof::secret)
            .map_or("", |(_, text)| text);
        let text = FormatString::parse(text).map_err(failed)?;
        let secrets = Secrets::read(&gateway.http.secrets).map_err(failed)?;

        let secret = text.render(|placeholder| match placeholder {
            Placeholder::Secret(name) => secrets.get(name).unwrap_or_default().into(),
            _ => "".into(),
        });
        Ok(Self {
            gateway: gateway.name.clone(),
            settings: settings.clone(),
            scope: gateway.http.response.receipt_scope(),
            secret,
            allow: proof
                .into_iter()
                .flat_map(|proof| &proof.allow)
                .filter_map(|range| AddressRange::parse(range))
                .collect(),
        })
    }

    fn takes(&self, method: &Method) -> bool {
        *method == Method::POST
            || *method == Method::GET && self.settings.format == ReceiptFormat::Query
    }

    fn is_at(&self, path: &str) -> bool {
        match self.proof().map(|proof| &proof.path_token) {
            Some(Some(_)) => {
                let behind = path.strip_prefix(self.settings.path.as_str());
                let given = behind.and_then(|behind| behind.strip_prefix('/'));
                given.is_some_and(|given| is_same(given, &self.secret))
            }
            _ => path == self.settings.path,
        }
    }

    fn proof(&self) -> Option<&ReceiptProof> {
        self.settings.verify.as_ref()
    }

    /// Whether receipts may come from this address.
    pub(super) fn allows(&self, peer: IpAddr) -> bool {
        self.allow.is_empty() || self.allow.iter().any(|range| range.contains(peer))
    }

    /// Whether a request is the provider's. A secret in the path was looked at already.
    pub(super) fn is_providers(
        &self,
        query: Option<&str>,
        headers: &HeaderMap,
        body: &[u8],
    ) -> bool {
        let twilio = self.proof().and_then(|proof| proof.twilio.as_ref());
        let Some(TwilioProof { public_url, .. }) = twilio else {
            return true;
        };

        let url = match query {
            Some(query) => format!("{public_url}?{query}"),
            None => public_url.clone(),
        };
        let signature = headers
            .get(TWILIO_SIGNATURE)
            .and_then(|value| value.to_str().ok());
        let form = std::str::from_utf8(body).ok();
        signature
            .zip(form)
            .is_some_and(|(signature, form)| is_twilios(&self.secret, &url, form, signature))
    }

    pub(super) fn read(&self, query: Option<&str>, body: &[u8]) -> Option<Vec<Report>> {
        let source = Source {
            gateway: &self.gateway,
            settings: &self.settings,
            scope: self.scope,
        };
        read(source, query.unwrap_or_default(), body)
    }
}
