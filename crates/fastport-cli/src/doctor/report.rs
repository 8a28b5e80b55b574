//! What the doctor found, as text and as JSON.

use std::fmt;

use fastport_io::{Backend, Feature, ProviderInfo, Result};
use serde::Serialize;

use super::advice::{Advice, advise};
use super::facts::{BufferBytes, Facts, Limit};

/// A whole report. Its JSON form has the names of the fields.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    version: &'static str,
    backends: Vec<BackendReport>,
    #[serde(flatten)]
    facts: Facts,
    advice: Vec<Advice>,
}

/// One backend.
#[derive(Debug, Serialize)]
pub(crate) struct BackendReport {
    pub(crate) name: &'static str,
    pub(crate) works: bool,
    /// It is what the command line asks for.
    chosen: bool,
    /// Why it does not work.
    pub(crate) reason: Option<String>,
    /// What it does better than the plain way here.
    features: Vec<&'static str>,
    /// What it does without here.
    notes: Vec<String>,
}

impl BackendReport {
    pub(crate) fn new(backend: Backend, chosen: bool, looked: Result<ProviderInfo>) -> Self {
        let name = backend.name();
        match looked {
            Ok(info) => Self {
                name,
                works: true,
                chosen,
                reason: None,
                features: info.features.iter().map(Feature::name).collect(),
                notes: info.notes,
            },
            Err(error) => Self {
                name,
                works: false,
                chosen,
                reason: Some(error.to_string()),
                features: Vec::new(),
                notes: Vec::new(),
            },
        }
    }
}

impl Report {
    pub(crate) fn new(backends: Vec<BackendReport>, facts: Facts) -> Self {
        let advice = advise(&facts, &backends);
        Self { version: env!("CARGO_PKG_VERSION"), backends, facts, advice }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Facts { system, kernel, cores, .. } = &self.facts;
        let kernel = kernel.as_deref().unwrap_or("of an unknown version");
        let plural = if *cores == 1 { "" } else { "s" };
        writeln!(f, "fastport {} on {system} {kernel}, {cores} core{plural}", self.version)?;

        writeln!(f, "\nBackends")?;
        for backend in &self.backends {
            backend.fmt(f)?;
        }
        writeln!(f, "\nLimits and settings")?;
        for (name, value) in self.facts.lines() {
            writeln!(f, "  {name:<22}{value}")?;
        }
        if self.advice.is_empty() {
            return writeln!(f, "\nNothing to change.");
        }
        writeln!(f, "\nTo change")?;
        for Advice { problem, remedy } in &self.advice {
            writeln!(f, "  {problem}\n    {remedy}")?;
        }
        Ok(())
    }
}

impl fmt::Display for BackendReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, chosen, reason, .. } = self;
        match reason {
            Some(reason) => writeln!(f, "  {name:<10}no   {reason}")?,
            None if *chosen => writeln!(f, "  {name:<10}yes  chosen")?,
            None => writeln!(f, "  {name:<10}yes")?,
        }
        for feature in &self.features {
            writeln!(f, "  {:<15}with {feature}", "")?;
        }
        for note in &self.notes {
            writeln!(f, "  {:<15}without: {note}", "")?;
        }
        Ok(())
    }
}

impl Facts {
    /// What is known, each with its name.
    fn lines(&self) -> Vec<(&'static str, String)> {
        let mut lines = Vec::new();
        let mut line = |name, value: Option<String>| lines.extend(value.map(|value| (name, value)));
        line("open files", self.open_files.map(|limit| text(limit, "")));
        line("locked memory", self.locked_bytes.map(|limit| self.locked(limit)));
        line("waiting connections", self.listen_backlog.map(|backlog| backlog.to_string()));
        line("receive buffer", self.receive_buffer.map(sizes));
        line("send buffer", self.send_buffer.map(sizes));
        line("congestion control", self.congestion_control.as_ref().map(|control| self.control(control)));
        line("io_uring_disabled", self.io_uring_disabled.map(|level| level.to_string()));
        line("seccomp filter", self.seccomp_filter.map(|filter| if filter { "yes" } else { "no" }.to_owned()));
        lines
    }

    fn locked(&self, limit: Limit) -> String {
        if self.locks_freely { "unlimited by CAP_IPC_LOCK".to_owned() } else { text(limit, " bytes") }
    }

    fn control(&self, control: &str) -> String {
        match self.congestion_controls.as_slice() {
            [] => control.to_owned(),
            available => format!("{control} (available: {})", available.join(", ")),
        }
    }
}

fn text(limit: Limit, unit: &str) -> String {
    let value = |limit: Option<u64>| limit.map_or("unlimited".to_owned(), |limit| format!("{limit}{unit}"));
    if limit.soft == limit.hard {
        return value(limit.soft);
    }
    format!("{}, may be raised to {}", value(limit.soft), value(limit.hard))
}

fn sizes(bytes: BufferBytes) -> String {
    let BufferBytes { initial, largest_tuned, largest_set } = bytes;
    let set = largest_set.map(|set| format!("; up to {set} by option")).unwrap_or_default();
    format!("{initial} bytes, grows to {largest_tuned}{set}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use fastport_io::{Error, ErrorCode, Features};

    fn report() -> Report {
        let info = ProviderInfo {
            backend: Backend::Epoll,
            features: Features::default().with(Feature::Batching),
            queue_depth: 32,
            completion_depth: 32,
            max_operations: 1,
            notes: vec!["epoll_pwait2: missing".to_owned()],
        };
        let refusal = Error::new(ErrorCode::PlatformNotSupported, "blocked by seccomp (EPERM)");
        let backends = vec![
            BackendReport::new(Backend::IoUring, false, Err(refusal)),
            BackendReport::new(Backend::Epoll, true, Ok(info)),
        ];
        let facts = Facts {
            system: "linux".to_owned(),
            kernel: Some("6.1.0".to_owned()),
            cores: 2,
            open_files: Some(Limit { soft: Some(1024), hard: None }),
            seccomp_filter: Some(true),
            ..Facts::default()
        };
        Report::new(backends, facts)
    }

    #[test]
    fn the_text_has_a_line_for_each_finding() {
        let text = report().to_string();
        for line in [
            "on linux 6.1.0, 2 cores",
            "io_uring  no   blocked by seccomp (EPERM)",
            "epoll     yes  chosen",
            "with Batching",
            "without: epoll_pwait2: missing",
            "open files            1024, may be raised to unlimited",
            "seccomp filter        yes",
            "--security-opt",
        ] {
            assert!(text.contains(line), "'{line}' is missing in\n{text}");
        }
        assert!(!text.contains("waiting connections"), "what is not known is left out");
    }

    #[test]
    fn the_json_has_the_same_findings_and_null_for_no_limit() {
        let json = serde_json::to_value(report()).unwrap();
        assert_eq!(json["kernel"], "6.1.0");
        assert_eq!(json["backends"][0]["works"], false);
        assert_eq!(json["backends"][0]["reason"], "blocked by seccomp (EPERM)");
        assert_eq!(json["backends"][1]["features"][0], "Batching");
        assert_eq!(json["open_files"]["soft"], 1024);
        assert!(json["open_files"]["hard"].is_null());
        assert!(json["advice"][0]["remedy"].is_string());
    }
}
