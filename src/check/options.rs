//! What to look for, and how long.

use std::{fmt, num::NonZero, str::FromStr, thread, time::Duration};

/// How a history is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// What the history's values mean; `None`: every tier that finds rows of its kind.
    pub model: Option<Model>,
    /// How long the searches of T2 may take together. Default: 60 s. What has not ended by then is unknown.
    pub deadline: Duration,
    /// How many bytes T2 may keep of configurations that it has seen. Default: 2 GiB. Beyond, the key is
    /// unknown.
    pub memory_bytes_max: u64,
    /// Threads of T2. Default: as many as the machine has cores.
    pub threads: usize,
}

/// [`Options::deadline`] by default.
const DEADLINE_DEFAULT: Duration = Duration::from_secs(60);
/// [`Options::memory_bytes_max`] by default.
const MEMORY_BYTES_DEFAULT: u64 = 2 << 30;

impl Default for Options {
    fn default() -> Self {
        Options {
            model: None,
            deadline: DEADLINE_DEFAULT,
            memory_bytes_max: MEMORY_BYTES_DEFAULT,
            threads: thread::available_parallelism().map_or(1, NonZero::get),
        }
    }
}

/// What a history's operations mean. T0, T1 and the levels run in any case, where they find their rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Model {
    /// Keys with everything that the store can do to them.
    Kv,
    /// Registers: reads and writes.
    Register,
    /// Registers with compare and set.
    CasRegister,
    /// Transactions that append to lists and read them.
    ListAppend,
    /// Keys that are added once, and read together.
    Set,
    /// Locks with tokens.
    Lock,
}

impl Model {
    /// All of them.
    pub const ALL: [Model; 6] =
        [Model::Kv, Model::Register, Model::CasRegister, Model::ListAppend, Model::Set, Model::Lock];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Model::Kv => "kv",
            Model::Register => "register",
            Model::CasRegister => "cas-register",
            Model::ListAppend => "list-append",
            Model::Set => "set",
            Model::Lock => "lock",
        }
    }

    /// Whether T2 looks at histories of this kind.
    pub(super) fn is_linear(self) -> bool {
        !matches!(self, Model::ListAppend | Model::Lock)
    }
}

impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Model {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = || Model::ALL.map(Model::name).join(", ");
        let found = Model::ALL.into_iter().find(|model| model.name() == text);
        found.ok_or_else(|| format!("{text:?} is not a model: {}", names()))
    }
}
