//! The options of the HTTP sinks, as those sinks take them.

use std::time::Duration;

use brine_bridge::Secret;
use brine_bridge::http::HttpOptions;
#[cfg(feature = "otlp")]
use brine_bridge::otlp::OtlpOptions;
use brine_bridge::tls::{TlsOptions, Trust};
#[cfg(feature = "webhook")]
use brine_bridge::webhook::{WebhookForm, WebhookOptions};
use brine_config::HttpSinkOptions;

#[cfg(feature = "webhook")]
use super::secret;

#[cfg(feature = "webhook")]
pub(super) fn webhook(options: &brine_config::WebhookOptions) -> WebhookOptions {
    WebhookOptions {
        http: http(&options.http),
        secret: secret(options.secret.as_ref()),
        form: match options.is_lines {
            true => WebhookForm::Lines,
            false => WebhookForm::List,
        },
    }
}

#[cfg(feature = "otlp")]
pub(super) fn otlp(options: &brine_config::OtlpOptions, master_id: &str) -> OtlpOptions {
    OtlpOptions {
        http: http(&options.http),
        service: options.service.clone(),
        master_id: master_id.to_owned(),
    }
}

fn http(options: &HttpSinkOptions) -> HttpOptions {
    let headers = options.headers.iter();
    HttpOptions {
        url: options.url.clone(),
        headers: headers
            .map(|(name, value)| (name.clone(), Secret::new(value.0.clone())))
            .collect(),
        timeout: options.timeout.max(Duration::from_millis(1)),
        tls: TlsOptions {
            trust: options.ca.clone().map_or(Trust::System, Trust::Roots),
            identity: options.identity.clone(),
        },
    }
}
