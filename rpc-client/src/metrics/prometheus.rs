//! The counters as Prometheus reads them.

use rpc_core::metrics::prometheus::Text;

use super::{CommandReport, Report};

impl Report {
    /// The report in the text format of Prometheus (version 0.0.4), each sample with the label `target`. A program that
    /// shows several clients puts their texts together by family, or asks each of them at a path of its own.
    ///
    /// ```
    /// let client = rpc_client::Client::new("127.0.0.1:8889");
    /// let text = client.report().to_prometheus();
    /// assert!(text.contains("rpc_client_connections_open{target=\"127.0.0.1:8889\"} 0\n"));
    /// ```
    pub fn to_prometheus(&self) -> String {
        let mut text = Text::default();
        self.write_calls(&mut text);
        self.write_connections(&mut text);
        text.finish()
    }

    fn write_calls(&self, text: &mut Text) {
        text.family(
            "rpc_client_answered_total",
            "counter",
            "Tries that a server has answered, by command and code.",
        );
        for (command, labels) in self.by_command() {
            // Its rate is asked for before the first one.
            let none = (!command.answered.contains_key("OK")).then_some(("OK", 0));
            let counts = command.answered.iter().map(|(code, count)| (*code, *count));
            for (code, count) in none.into_iter().chain(counts) {
                let code = match code {
                    "OF_SERVICES" => "service",
                    code => code,
                };
                text.sample(&labels.with("code", code), count);
            }
        }

        text.family(
            "rpc_client_unanswered_total",
            "counter",
            "Tries that got no answer, by command and reason.",
        );
        for (command, labels) in self.by_command() {
            for (reason, count) in &command.unanswered {
                text.sample(&labels.with("reason", reason), count);
            }
        }

        let family = |text: &mut Text, name, kind, help, count: fn(&CommandReport) -> u64| {
            text.family(name, kind, help);
            for (command, labels) in self.by_command() {
                text.sample(&labels.all(), count(command));
            }
        };
        family(
            text,
            "rpc_client_in_flight",
            "gauge",
            "Tries that wait for their reply.",
            |command| command.in_flight,
        );
        family(
            text,
            "rpc_client_retries_total",
            "counter",
            "Retries: further tries of calls whose last try had failed.",
            |command| command.retries,
        );
        family(
            text,
            "rpc_client_hedges_total",
            "counter",
            "Hedges: second tries that were started because the first one was slow.",
            |command| command.hedges,
        );
        family(
            text,
            "rpc_client_oneway_total",
            "counter",
            "Oneway calls that were sent.",
            |command| command.oneway,
        );

        text.family(
            "rpc_client_duration_seconds",
            "histogram",
            "Time from the start of a try on its connection to its reply.",
        );
        for (command, labels) in self.by_command() {
            text.histogram(&labels.all(), &command.latencies);
        }
    }

    fn write_connections(&self, text: &mut Text) {
        let target = [("target", &*self.target)];
        for (name, kind, help, count) in [
            (
                "rpc_client_connections_open",
                "gauge",
                "Open connections.",
                self.connections_open,
            ),
            (
                "rpc_client_connections_opened_total",
                "counter",
                "Connections that were opened.",
                self.connections_opened,
            ),
            (
                "rpc_client_reconnects_total",
                "counter",
                "Connections that replaced a lost or closed one.",
                self.reconnects,
            ),
            (
                "rpc_client_ejections_total",
                "counter",
                "Number of times an endpoint was ejected.",
                self.ejections,
            ),
        ] {
            text.family(name, kind, help).sample(&target, count);
        }
    }

    fn by_command(&self) -> impl Iterator<Item = (&CommandReport, Labels<'_>)> {
        self.commands.iter().map(|command| {
            let cmdid = command
                .cmdid
                .map_or_else(|| "other".to_owned(), |cmdid| cmdid.to_string());
            let target = &*self.target;
            (command, Labels { target, cmdid })
        })
    }
}

/// The labels of a command.
struct Labels<'r> {
    target: &'r str,
    cmdid: String,
}

impl Labels<'_> {
    fn all(&self) -> [(&'static str, &str); 2] {
        [("target", self.target), ("cmdid", &self.cmdid)]
    }

    fn with<'l>(&'l self, name: &'static str, value: &'l str) -> [(&'static str, &'l str); 3] {
        let [target, cmdid] = self.all();
        [target, cmdid, (name, value)]
    }
}
