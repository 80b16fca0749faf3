//! How one thing stands, in words.

/// What it means for a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// Worth knowing; nothing is the worse for it.
    Note,
    /// tcpwatch runs, with less than it could.
    Warn,
    /// tcpwatch does not run.
    Fail,
}

impl Verdict {
    /// As it is shown: what is wrong is in capitals.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Note => "note",
            Self::Warn => "WARN",
            Self::Fail => "FAIL",
        }
    }
}

/// One line of the answer.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// What was looked at.
    pub check: &'static str,
    /// How it stands.
    pub verdict: Verdict,
    /// The same in words.
    pub says: String,
    /// What to do, in order of preference; empty: nothing.
    pub cures: Vec<String>,
}

impl Finding {
    fn new(verdict: Verdict, check: &'static str, says: impl Into<String>) -> Self {
        // What comes from outside must not make two lines of one.
        let says = says.into().split_whitespace().collect::<Vec<_>>().join(" ");
        Self {
            check,
            verdict,
            says,
            cures: Vec::new(),
        }
    }

    /// As it should be.
    pub fn ok(check: &'static str, says: impl Into<String>) -> Self {
        Self::new(Verdict::Ok, check, says)
    }

    /// Worth knowing.
    pub fn note(check: &'static str, says: impl Into<String>) -> Self {
        Self::new(Verdict::Note, check, says)
    }

    /// tcpwatch runs, with less.
    pub fn warn(check: &'static str, says: impl Into<String>) -> Self {
        Self::new(Verdict::Warn, check, says)
    }

    /// tcpwatch does not run.
    pub fn fail(check: &'static str, says: impl Into<String>) -> Self {
        Self::new(Verdict::Fail, check, says)
    }

    /// What to do about it; a second one is another way.
    #[must_use]
    pub fn cure(mut self, cure: impl Into<String>) -> Self {
        self.cures.push(cure.into());
        self
    }
}

/// An error with its causes, as one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
