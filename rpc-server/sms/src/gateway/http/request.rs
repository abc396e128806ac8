//! The request of an attempt, out of the settings and the values of a message.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http_body_util::Full;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName, HeaderValue, USER_AGENT};
use hyper::{HeaderMap, Method, Request};
use serde_json::Value as Json;

use super::connection::HttpRequest;
use super::sign::{Tc3Request, aliyun_rpc_v1, joined, tc3};
use super::values::Values;
use crate::config::{HttpAuth, HttpMethod, HttpSettings, SignKind};
use crate::mapping::{FormatString, MappingError, Placeholder, Url, percent_encoded};

/// A request with placeholders, read once from the settings.
pub(super) struct RequestFormat {
    method: Method,
    host: HeaderValue,
    target: FormatString,
    query: Pairs,
    headers: Vec<(HeaderName, FormatString)>,
    auth: Option<AuthFormat>,
    sign: Option<SignFormat>,
    body: BodyFormat,
}

/// Names and values, as a query or form has them.
type Pairs = Vec<(String, FormatString)>;

enum AuthFormat {
    Basic {
        name: FormatString,
        password: FormatString,
    },
    Bearer(FormatString),
}

/// A signature, with the texts of its key and secret.
struct SignFormat {
    kind: SignKind,
    key: FormatString,
    secret: FormatString,
}

enum BodyFormat {
    Empty,
    Form(Pairs),
    Json(JsonFormat),
}

/// JSON whose texts have placeholders. A text stays one text, whatever its values are.
enum JsonFormat {
    Text(FormatString),
    Array(Vec<JsonFormat>),
    Object(Vec<(String, JsonFormat)>),
    Other(Json),
}

impl RequestFormat {
    pub(super) fn of(settings: &HttpSettings, url: &Url) -> Result<Self, MappingError> {
        let host = HeaderValue::from_str(&url.address.host_header());
        let headers = settings.headers.iter().map(|(name, text)| {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| {
                MappingError::new(format!("\"{name}\" is not the name of a header"))
            })?;
            Ok((name, FormatString::parse(text)?))
        });

        let auth = match &settings.auth {
            Some(HttpAuth::Basic([name, password])) => Some(AuthFormat::Basic {
                name: FormatString::parse(name)?,
                password: FormatString::parse(password)?,
            }),
            Some(HttpAuth::Bearer(token)) => Some(AuthFormat::Bearer(FormatString::parse(token)?)),
            None => None,
        };
        let sign = settings.sign.as_ref().map(|sign| {
            Ok::<_, MappingError>(SignFormat {
                kind: sign.kind,
                key: FormatString::parse(&sign.key)?,
                secret: FormatString::parse(&sign.secret)?,
            })
        });
        let body = match &settings.json {
            Some(json) => BodyFormat::Json(JsonFormat::of(json)?),
            None if settings.form.is_empty() => BodyFormat::Empty,
            None => BodyFormat::Form(pairs(&settings.form)?),
        };

        Ok(Self {
            method: match settings.method {
                HttpMethod::Get => Method::GET,
                HttpMethod::Post => Method::POST,
            },
            host: host.map_err(|_| MappingError::new("the host cannot be sent in a header"))?,
            target: url.target.clone(),
            query: pairs(&settings.query)?,
            headers: headers.collect::<Result<_, MappingError>>()?,
            auth,
            sign: sign.transpose()?,
            body,
        })
    }

    /// Whether a placeholder is anywhere in it.
    pub(super) fn has(&self, placeholder: &Placeholder) -> bool {
        let mut texts = vec![&self.target];
        texts.extend(self.query.iter().map(|(_, text)| text));
        texts.extend(self.headers.iter().map(|(_, text)| text));
        match &self.body {
            BodyFormat::Empty => {}
            BodyFormat::Form(form) => texts.extend(form.iter().map(|(_, text)| text)),
            BodyFormat::Json(json) => json.push_texts(&mut texts),
        }

        let mut all = texts.iter().flat_map(|text| text.placeholders());
        all.any(|found| found == placeholder)
    }

    /// The request of an attempt.
    ///
    /// # Errors
    /// The values cannot stand where the settings put them. Neither they nor secrets are repeated.
    pub(super) fn fill(&self, values: &Values<'_>) -> Result<HttpRequest, MappingError> {
        let target = self.target(values);
        let (content_type, body) = self.body(values);
        let headers = self.headers(values, &target, content_type, &body)?;

        let mut request = Request::new(Full::from(body));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = target.parse().map_err(|_| {
            MappingError::new("the message is too long for the address of a request; use POST")
        })?;
        *request.headers_mut() = headers;
        Ok(request)
    }

    /// Path and query.
    fn target(&self, values: &Values<'_>) -> String {
        if let Some(sign) = self.signs_as(SignKind::AliyunRpcV1) {
            let form = match &self.body {
                BodyFormat::Form(form) => filled(form, values),
                BodyFormat::Empty | BodyFormat::Json(_) => Vec::new(),
            };
            let (key, secret) = (plain(&sign.key, values), plain(&sign.secret, values));
            let query = filled(&self.query, values);
            let method = self.method.as_str();
            let query = aliyun_rpc_v1(method, query, &form, &key, &secret, &values.moment);
            return format!("/?{query}");
        }

        let mut target = self
            .target
            .render(|placeholder| percent_encoded(&values.get(placeholder)).into());
        if !self.query.is_empty() {
            target.push(if target.contains('?') { '&' } else { '?' });
            target.push_str(&joined(filled(&self.query, values).iter()));
        }
        target
    }

    fn signs_as(&self, kind: SignKind) -> Option<&SignFormat> {
        self.sign.as_ref().filter(|sign| sign.kind == kind)
    }

    fn body(&self, values: &Values<'_>) -> (Option<&'static str>, String) {
        match &self.body {
            BodyFormat::Empty => (None, String::new()),
            BodyFormat::Form(form) => (
                Some("application/x-www-form-urlencoded"),
                joined(filled(form, values).iter()),
            ),
            BodyFormat::Json(json) => (Some("application/json"), json.render(values).to_string()),
        }
    }

    fn headers(
        &self,
        values: &Values<'_>,
        target: &str,
        content_type: Option<&'static str>,
        body: &str,
    ) -> Result<HeaderMap, MappingError> {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, self.host.clone());
        headers.insert(USER_AGENT, HeaderValue::from_static("rpc-server"));
        if let Some(content_type) = content_type {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        }

        if let Some(auth) = &self.auth {
            let mut value = header(&AUTHORIZATION, &auth.render(values))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        for (name, text) in &self.headers {
            headers.insert(name, header(name, &plain(text, values))?);
        }
        if let Some(sign) = self.signs_as(SignKind::Tc3) {
            self.sign_headers(sign, &mut headers, values, target, body)?;
        }
        Ok(headers)
    }

    /// Adds the headers of Tencent's signature, which is about those that are there.
    fn sign_headers(
        &self,
        sign: &SignFormat,
        headers: &mut HeaderMap,
        values: &Values<'_>,
        target: &str,
        body: &str,
    ) -> Result<(), MappingError> {
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");
        let content_type = headers.entry(CONTENT_TYPE).or_insert(form).clone();
        let request = Tc3Request {
            method: self.method.as_str(),
            host: self.host.to_str().unwrap_or_default(),
            query: target.split_once('?').map_or("", |(_, query)| query),
            content_type: content_type.to_str().unwrap_or_default(),
            body,
        };

        let (key, secret) = (plain(&sign.key, values), plain(&sign.secret, values));
        let authorization = tc3(&request, &key, &secret, &values.moment);
        let mut authorization = header(&AUTHORIZATION, &authorization)?;
        authorization.set_sensitive(true);
        headers.insert(AUTHORIZATION, authorization);
        let now_s = values.moment.now.as_second();
        headers.insert("x-tc-timestamp", HeaderValue::from(now_s));
        Ok(())
    }
}

/// The value of a header. UTF-8 is sent as it is; control characters could end the header.
fn header(name: &HeaderName, text: &str) -> Result<HeaderValue, MappingError> {
    HeaderValue::from_bytes(text.as_bytes()).map_err(|_| {
        MappingError::new(format!(
            "the header `{name}` cannot hold its value, which has a control character"
        ))
    })
}

impl AuthFormat {
    fn render(&self, values: &Values<'_>) -> String {
        match self {
            Self::Basic { name, password } => {
                let pair = format!("{}:{}", plain(name, values), plain(password, values));
                format!("Basic {}", BASE64_STANDARD.encode(pair))
            }
            Self::Bearer(token) => format!("Bearer {}", plain(token, values)),
        }
    }
}

impl JsonFormat {
    fn of(json: &Json) -> Result<Self, MappingError> {
        Ok(match json {
            Json::String(text) => Self::Text(FormatString::parse(text)?),
            Json::Array(items) => {
                Self::Array(items.iter().map(Self::of).collect::<Result<_, _>>()?)
            }
            Json::Object(fields) => {
                let fields = fields
                    .iter()
                    .map(|(name, field)| Ok((name.clone(), Self::of(field)?)));
                Self::Object(fields.collect::<Result<_, MappingError>>()?)
            }
            other => Self::Other(other.clone()),
        })
    }

    fn push_texts<'f>(&'f self, texts: &mut Vec<&'f FormatString>) {
        match self {
            Self::Text(text) => texts.push(text),
            Self::Array(items) => items.iter().for_each(|item| item.push_texts(texts)),
            Self::Object(fields) => fields.iter().for_each(|(_, field)| field.push_texts(texts)),
            Self::Other(_) => {}
        }
    }

    fn render(&self, values: &Values<'_>) -> Json {
        match self {
            Self::Text(text) => Json::String(plain(text, values)),
            Self::Array(items) => items.iter().map(|item| item.render(values)).collect(),
            Self::Object(fields) => {
                let fields = fields
                    .iter()
                    .map(|(name, field)| (name.clone(), field.render(values)));
                fields.collect()
            }
            Self::Other(json) => json.clone(),
        }
    }
}

fn plain(text: &FormatString, values: &Values<'_>) -> String {
    text.render(|placeholder| values.get(placeholder))
}

fn pairs(map: &BTreeMap<String, String>) -> Result<Pairs, MappingError> {
    map.iter()
        .map(|(name, text)| Ok((name.clone(), FormatString::parse(text)?)))
        .collect()
}

/// Names and values of one attempt.
fn filled(pairs: &Pairs, values: &Values<'_>) -> Vec<(String, String)> {
    let pairs = pairs.iter();
    pairs
        .map(|(name, text)| (name.clone(), plain(text, values)))
        .collect()
}
