//! A gateway over HTTP: a request for each attempt as its settings describe it, and an answer judged by their rules.

mod answer;
mod connection;
mod request;
mod sign;
#[cfg(test)]
mod tests;
mod values;

use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use http_body_util::{BodyExt, Limited};
use hyper::Response;
use hyper::body::Incoming;
use jiff::Timestamp;
use tokio::time::{Instant, timeout_at};

use super::{Gateway, Submission};
use crate::config::HttpSettings;
use crate::mapping::{FormatString, MappingError, Placeholder, Secrets, Url};
use crate::store::{Claimed, Content};
use answer::{ANSWER_BYTES_MAX, Answers};
use connection::{Connections, HttpRequest, Sender};
use request::RequestFormat;
use sign::Moment;
use values::Values;

/// Brings messages to a provider over HTTP.
pub struct HttpGateway {
    settings: HttpSettings,
    secrets: Secrets,
    callback: String,
    request: RequestFormat,
    answers: Answers,
    connections: Connections,
}

impl HttpGateway {
    /// A gateway of settings that were checked. It blocks: secrets and certificates are read.
    ///
    /// # Errors
    /// Settings that cannot be used, a secret that cannot be read, no CA certificates.
    pub fn new(settings: HttpSettings) -> Result<Self, MappingError> {
        let url = Url::parse(&settings.url)?;
        Ok(Self {
            secrets: Secrets::read(&settings.secrets)?,
            callback: String::new(),
            request: RequestFormat::of(&settings, &url)?,
            answers: Answers::of(&settings.response),
            connections: Connections::new(url.address, &settings.ca_file)?,
            settings,
        })
    }

    /// Gives providers the address that their receipts are taken at, as `{callback}`. It may have secrets of the gateway.
    ///
    /// # Errors
    /// An address with braces that make no placeholder.
    pub fn with_callback(mut self, address: &str) -> Result<Self, MappingError> {
        let address = FormatString::parse(address)?;
        self.callback = address.render(|placeholder| match placeholder {
            Placeholder::Secret(name) => self.secrets.get(name).unwrap_or_default().into(),
            _ => "".into(),
        });
        Ok(self)
    }

    fn values<'a>(&'a self, message: &'a Claimed) -> Values<'a> {
        let template = match &message.content {
            Content::Template { name, .. } => self.settings.templates.get(name),
            Content::Text(_) => None,
        };
        let sender = message.sender.as_deref();
        Values {
            message,
            sender: sender.unwrap_or(&self.settings.sender),
            template: template.map_or("", String::as_str),
            secrets: &self.secrets,
            callback: &self.callback,
            moment: Moment {
                now: Timestamp::now(),
                nonce: format!("{:032x}", fastrand::u128(..)),
            },
        }
    }

    async fn submit_until(&self, message: &Claimed, deadline: Instant) -> Submission {
        let request = match self.request.fill(&self.values(message)) {
            Ok(request) => request,
            Err(error) => {
                return Submission::Unsendable {
                    error: error.to_string(),
                };
            }
        };

        match self.send(request, deadline).await {
            Ok((response, sender)) => self.read(message, response, sender, deadline).await,
            Err(submission) => submission,
        }
    }

    /// Sends a request, on a connection that was kept or on a new one.
    async fn send(
        &self,
        mut request: HttpRequest,
        deadline: Instant,
    ) -> Result<(Response<Incoming>, Sender), Submission> {
        // Hyper hands a request back if it was not written: connections that were kept may have been closed meanwhile.
        while let Some(mut sender) = self.connections.take_kept(deadline).await {
            match timeout_at(deadline, sender.try_send_request(request)).await {
                Ok(Ok(response)) => return Ok((response, sender)),
                Ok(Err(mut error)) => match error.take_message() {
                    Some(back) => request = back,
                    None => return Err(no_answer("the connection was lost before the answer")),
                },
                Err(_) => return Err(no_answer("no answer in time")),
            }
        }

        let not_sent = |error: String| Submission::NotSent { error };
        let mut sender = match timeout_at(deadline, self.connections.open()).await {
            Ok(Ok(sender)) => sender,
            Ok(Err(error)) => return Err(not_sent(error)),
            Err(_) => return Err(not_sent("no connection in time".into())),
        };

        match timeout_at(deadline, sender.try_send_request(request)).await {
            Ok(Ok(response)) => Ok((response, sender)),
            Ok(Err(error)) if error.message().is_some() => Err(not_sent(
                "the connection was closed before the request".into(),
            )),
            Ok(Err(_)) => Err(no_answer("the connection was lost before the answer")),
            Err(_) => Err(no_answer("no answer in time")),
        }
    }

    async fn read(
        &self,
        message: &Claimed,
        response: Response<Incoming>,
        sender: Sender,
        deadline: Instant,
    ) -> Submission {
        let (head, body) = response.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect();
        let body = match timeout_at(deadline, body).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
                return no_answer("the answer is longer than 64 KiB");
            }
            Ok(Err(_)) => {
                return no_answer("the connection was lost before the end of the gateway's answer");
            }
            Err(_) => return no_answer("the answer was not complete in time"),
        };

        self.connections.keep(sender);
        self.answers.judge(message, &head, &body)
    }
}

fn no_answer(error: &str) -> Submission {
    Submission::NoAnswer {
        error: error.into(),
    }
}

impl Gateway for HttpGateway {
    fn submit<'a>(&'a self, message: &'a Claimed) -> BoxFuture<'a, Submission> {
        let deadline = Instant::now() + Duration::from_millis(self.settings.timeout_ms);
        self.submit_until(message, deadline).boxed()
    }

    fn takes_text(&self) -> bool {
        self.request.has(&Placeholder::Text)
    }

    fn takes_template(&self, template: &str) -> bool {
        self.settings.templates.contains_key(template)
    }
}
