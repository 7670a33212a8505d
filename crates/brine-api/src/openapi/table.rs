//! What the network API offers: one row for each method of each path.
//!
//! A new route in the router needs its row here; a test fails otherwise.

/// A method of a path.
pub(super) struct Operation {
    pub(super) method: &'static str,
    /// With names in braces for what varies.
    pub(super) path: &'static str,
    pub(super) id: &'static str,
    pub(super) summary: &'static str,
    pub(super) access: Access,
    pub(super) query: &'static [Parameter],
    pub(super) body: Option<Body>,
    pub(super) answers: &'static [Reply],
}

/// Who may call it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Anybody.
    Open,
    /// Every user who is logged in.
    Login,
}

/// What a body is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Body {
    /// Salt's low state: one chunk or a list.
    Lowstate,
    /// User, password and the kind of authentication.
    Credentials,
    /// Whatever the client likes.
    Any,
}

/// A parameter of the query.
pub(super) struct Parameter {
    pub(super) name: &'static str,
    pub(super) kind: &'static str,
    /// All values there are; empty if any is taken.
    pub(super) values: &'static [&'static str],
    pub(super) repeats: bool,
    pub(super) text: &'static str,
}

/// An answer.
pub(super) struct Reply {
    pub(super) status: &'static str,
    pub(super) text: &'static str,
    /// Empty if there is no body.
    pub(super) media: &'static str,
    pub(super) schema: Schema,
}

/// What JSON looks like.
#[derive(Clone, Copy)]
pub(super) enum Schema {
    Anything,
    Object,
    /// `{"return": …}`.
    Return,
    Reference(&'static str),
    Lowstate,
    Credentials,
}

const JSON: &str = "application/json";

const fn reply(
    status: &'static str,
    text: &'static str,
    media: &'static str,
    schema: Schema,
) -> Reply {
    Reply {
        status,
        text,
        media,
        schema,
    }
}

const RETURN: Reply = reply("200", "What they returned.", JSON, Schema::Return);
const NO_CREDENTIALS: Reply = reply(
    "401",
    "The credentials are wrong, or none are given.",
    "text/html",
    Schema::Anything,
);

const fn parameter(name: &'static str, kind: &'static str, text: &'static str) -> Parameter {
    Parameter {
        name,
        kind,
        values: &[],
        repeats: false,
        text,
    }
}

const fn get(
    path: &'static str,
    id: &'static str,
    summary: &'static str,
    access: Access,
    answers: &'static [Reply],
) -> Operation {
    Operation {
        method: "get",
        path,
        id,
        summary,
        access,
        query: &[],
        body: None,
        answers,
    }
}

const fn post(
    path: &'static str,
    id: &'static str,
    summary: &'static str,
    access: Access,
    body: Body,
    answers: &'static [Reply],
) -> Operation {
    Operation {
        method: "post",
        path,
        id,
        summary,
        access,
        query: &[],
        body: Some(body),
        answers,
    }
}

const EVENT_QUERY: &[Parameter] = &[
    Parameter {
        repeats: true,
        ..parameter("tag", "string", "Tags that are wanted; without one, all.")
    },
    Parameter {
        repeats: true,
        ..parameter("exclude", "string", "Tags that are not.")
    },
    Parameter {
        values: &["glob", "startswith", "endswith", "find", "regex"],
        ..parameter("match", "string", "How tags are compared.")
    },
    parameter(
        "filter",
        "string",
        "Terms that must all hold: minion:web* ok:false data.x:5",
    ),
    parameter(
        "from",
        "string",
        "earliest, new, a sequence, a position, or a time.",
    ),
    parameter("since", "string", "Events taken in at or after a time."),
    parameter("until", "string", "Events taken in at or before a time."),
    parameter(
        "before",
        "integer",
        "Events before this sequence; the stream ends there.",
    ),
    parameter(
        "last",
        "integer",
        "Only the last N that match, and what comes after.",
    ),
    parameter("limit", "integer", "End after so many."),
    Parameter {
        values: &["true", "false"],
        ..parameter("follow", "string", "false: end with what is there now.")
    },
    parameter(
        "heartbeat",
        "integer",
        "Seconds of silence after which the stream shows that it lives.",
    ),
];

/// What the network API offers.
pub(super) const OPERATIONS: &[Operation] = &[
    get(
        "/login",
        "loginForm",
        "Says that one has to log in",
        Access::Open,
        &[reply("200", "Please log in.", JSON, Schema::Return)],
    ),
    post(
        "/login",
        "login",
        "Logs in: gives a token for X-Auth-Token, and sets the cookie session_id",
        Access::Open,
        Body::Credentials,
        &[
            reply("200", "The session.", JSON, Schema::Return),
            reply(
                "401",
                "User, password or eauth are wrong.",
                "text/html",
                Schema::Anything,
            ),
        ],
    ),
    get(
        "/",
        "welcome",
        "Says hello; browsers get the web page",
        Access::Open,
        &[reply("200", "The clients there are.", JSON, Schema::Return)],
    ),
    post(
        "/",
        "commands",
        "Runs commands in the name of who is logged in",
        Access::Login,
        Body::Lowstate,
        &[RETURN],
    ),
    get(
        "/run",
        "runWelcome",
        "Says hello, as / does",
        Access::Open,
        &[reply("200", "The clients there are.", JSON, Schema::Return)],
    ),
    post(
        "/run",
        "run",
        "Runs commands; each says who asks: username, password and eauth, or token",
        Access::Open,
        Body::Lowstate,
        &[RETURN, NO_CREDENTIALS],
    ),
    get(
        "/token",
        "tokenWelcome",
        "Says hello, as / does",
        Access::Open,
        &[reply("200", "The clients there are.", JSON, Schema::Return)],
    ),
    post(
        "/token",
        "token",
        "Gives a token of Salt's, for /run",
        Access::Open,
        Body::Credentials,
        &[
            reply("200", "The tokens.", JSON, Schema::Anything),
            NO_CREDENTIALS,
        ],
    ),
    get(
        "/minions",
        "minions",
        "The grains of all minions",
        Access::Login,
        &[RETURN],
    ),
    post(
        "/minions",
        "startJob",
        "Starts jobs and does not wait for them (local_async)",
        Access::Login,
        Body::Lowstate,
        &[reply("202", "Their job ids.", JSON, Schema::Return)],
    ),
    get(
        "/minions/{mid}",
        "minion",
        "The grains of minions",
        Access::Login,
        &[RETURN],
    ),
    get(
        "/jobs",
        "jobs",
        "The jobs there were",
        Access::Login,
        &[RETURN],
    ),
    get(
        "/jobs/{jid}",
        "job",
        "A job and what it returned",
        Access::Login,
        &[RETURN],
    ),
    get(
        "/keys",
        "keys",
        "The keys of minions by state",
        Access::Login,
        &[RETURN],
    ),
    post(
        "/keys",
        "generateKey",
        "Makes a key pair and accepts it",
        Access::Open,
        Body::Lowstate,
        &[
            reply("200", "Both keys.", "application/x-tar", Schema::Anything),
            NO_CREDENTIALS,
            reply(
                "409",
                "The minion has a key already.",
                "text/html",
                Schema::Anything,
            ),
        ],
    ),
    get(
        "/keys/{mid}",
        "key",
        "The fingerprint of a key",
        Access::Login,
        &[RETURN],
    ),
    post(
        "/hook",
        "webhook",
        "Fires an event of the body: salt/netapi/hook",
        Access::Login,
        Body::Any,
        &[reply("200", "It was fired.", JSON, Schema::Object)],
    ),
    post(
        "/hook/{path}",
        "webhookBelow",
        "Fires an event of the body: salt/netapi/hook/…",
        Access::Login,
        Body::Any,
        &[reply("200", "It was fired.", JSON, Schema::Object)],
    ),
    get(
        "/stats",
        "stats",
        "What the API has counted",
        Access::Login,
        &[reply("200", "The counts.", JSON, Schema::Object)],
    ),
    post(
        "/logout",
        "logout",
        "Ends the session",
        Access::Login,
        Body::Any,
        &[reply("200", "The token is dead.", JSON, Schema::Return)],
    ),
    Operation {
        query: EVENT_QUERY,
        ..get(
            "/events",
            "events",
            "A stream of events: server-sent events, or JSON lines for Accept: application/x-ndjson; Last-Event-ID resumes",
            Access::Login,
            &[reply(
                "200",
                "Events as they come.",
                "text/event-stream",
                Schema::Anything,
            )],
        )
    },
    get(
        "/ws",
        "websocket",
        "The events over a WebSocket",
        Access::Login,
        &[reply("101", "The WebSocket.", "", Schema::Anything)],
    ),
    get(
        "/ws/{token}",
        "websocketByToken",
        "The same, with the token in the path",
        Access::Open,
        &[reply("101", "The WebSocket.", "", Schema::Anything)],
    ),
    get(
        "/all_events/{token}",
        "allEvents",
        "rest_tornado's WebSocket of all events",
        Access::Open,
        &[reply("101", "The WebSocket.", "", Schema::Anything)],
    ),
    get(
        "/formatted_events/{token}",
        "formattedEvents",
        "rest_tornado's WebSocket of formatted events",
        Access::Open,
        &[reply("101", "The WebSocket.", "", Schema::Anything)],
    ),
    Operation {
        query: &[parameter(
            "after",
            "string",
            "A position: log.after says how many events came after it.",
        )],
        ..get(
            "/status",
            "status",
            "What runs, what the log holds, who reads",
            Access::Login,
            &[reply("200", "The status.", JSON, Schema::Object)],
        )
    },
    get(
        "/metrics",
        "metrics",
        "Metrics for Prometheus; OpenMetrics by Accept",
        Access::Open,
        &[reply("200", "The metrics.", "text/plain", Schema::Anything)],
    ),
    get(
        "/metrics/salt-exporter",
        "saltExporterMetrics",
        "Salt's jobs under salt-exporter's names; without login where brine: {api: {open_exporter: true}} says so",
        Access::Login,
        &[reply("200", "The metrics.", "text/plain", Schema::Anything)],
    ),
    get(
        "/healthz",
        "alive",
        "The process answers",
        Access::Open,
        &[reply("200", "It does.", JSON, Schema::Reference("Health"))],
    ),
    get(
        "/readyz",
        "ready",
        "New clients will be served",
        Access::Open,
        &[
            reply("200", "Ready.", JSON, Schema::Reference("Health")),
            reply(
                "503",
                "Not ready, and why.",
                JSON,
                Schema::Reference("Health"),
            ),
        ],
    ),
    get(
        "/openapi.json",
        "description",
        "This description",
        Access::Open,
        &[reply("200", "OpenAPI 3.1.", JSON, Schema::Object)],
    ),
    get(
        "/brine",
        "page",
        "The web page; browsers get it at / too",
        Access::Open,
        &[reply("200", "The page.", "text/html", Schema::Anything)],
    ),
    get(
        "/brine/{file}",
        "pageFile",
        "What the page is made of",
        Access::Open,
        &[
            reply("200", "The file.", "text/javascript", Schema::Anything),
            reply("404", "No such file.", "text/html", Schema::Anything),
        ],
    ),
];
