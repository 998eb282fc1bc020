//! Keys that verify tokens, and this node's own token: from files or over HTTP.

use quorate_security::{Jaas, KeySet, Secret};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// An endpoint that does not answer in this time does not count.
const HTTP_TIMEOUT: Duration = Duration::from_secs(10);
/// An answer of an endpoint beyond this is none.
const ANSWER_MAX_BYTES: u64 = 1 << 20;
/// After a failure keys are asked for again no sooner than this.
const RETRY: Duration = Duration::from_secs(5);

/// `file:` or `http(s):`.
#[derive(Clone, Debug)]
enum Place {
    File(PathBuf),
    Http(String),
}

impl Place {
    fn parse(url: &str) -> Result<Place, String> {
        if let Some(path) = url.strip_prefix("file:") {
            // file:///path and file:/path are the same.
            let path = path.strip_prefix("//").unwrap_or(path);
            return Ok(Place::File(PathBuf::from(path)));
        }
        if url.starts_with("http://") || url.starts_with("https://") {
            return Ok(Place::Http(url.to_owned()));
        }
        Err(format!("{url} is neither a file: nor an http(s): URL"))
    }

    fn read(&self) -> Result<Vec<u8>, String> {
        match self {
            Place::File(path) => {
                std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))
            }
            Place::Http(url) => {
                let answer = agent().get(url).call().map_err(|error| format!("{url}: {error}"))?;
                let body = answer.into_body().into_with_config().limit(ANSWER_MAX_BYTES);
                body.read_to_vec().map_err(|error| format!("{url}: {error}"))
            }
        }
    }
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder().timeout_global(Some(HTTP_TIMEOUT)).build().into()
}

/// The key set of an endpoint. Without keys nobody gets in.
pub struct KeySource {
    place: Place,
    refresh: Duration,
    held: Mutex<Held>,
}

struct Held {
    keys: Arc<KeySet>,
    ask_again: Instant,
}

impl KeySource {
    /// A file must be readable now. An endpoint that does not answer yet is asked again when a token
    /// comes, and until then no token is taken.
    pub fn open(url: &str, refresh: Duration) -> Result<KeySource, String> {
        let place = Place::parse(url)?;
        let now = Instant::now();
        let held = match fetch(&place) {
            Ok(keys) => Held { keys: Arc::new(keys), ask_again: now + refresh },
            Err(why) if matches!(place, Place::File(_)) => return Err(why),
            Err(why) => {
                tracing::warn!(
                    why,
                    "no keys for OAUTHBEARER yet: all tokens are refused until there are"
                );
                Held { keys: Arc::default(), ask_again: now + RETRY }
            }
        };
        Ok(KeySource { place, refresh, held: Mutex::new(held) })
    }

    /// The keys, fetched anew if they are due. Blocks for as long as the endpoint takes.
    pub fn current(&self) -> Arc<KeySet> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.ask_again <= Instant::now() {
            let wait = match fetch(&self.place) {
                Ok(keys) => {
                    held.keys = Arc::new(keys);
                    self.refresh
                }
                Err(why) => {
                    tracing::warn!(
                        why,
                        "the keys for OAUTHBEARER cannot be fetched; those before stay in force"
                    );
                    RETRY
                }
            };
            held.ask_again = Instant::now() + wait;
        }
        held.keys.clone()
    }
}

fn fetch(place: &Place) -> Result<KeySet, String> {
    KeySet::parse(&place.read()?).map_err(|error| error.to_string())
}

/// Where this node's own token comes from.
pub struct TokenSource {
    url: String,
    client: Option<(String, Secret)>,
}

impl TokenSource {
    /// `clientId` and `clientSecret` of the login module are for an endpoint.
    pub fn new(url: &str, jaas: Option<&Jaas>) -> TokenSource {
        let option = |name: &str| jaas.and_then(|jaas| jaas.option(name)).cloned();
        let client = option("clientId").zip(option("clientSecret"));
        let client = client.map(|(id, secret)| (id.reveal().to_owned(), secret));
        TokenSource { url: url.to_owned(), client }
    }

    /// A token, asked for each time: connections between controllers are few. Blocks.
    pub fn token(&self) -> Result<Secret, String> {
        let text = match Place::parse(&self.url)? {
            place @ Place::File(_) => String::from_utf8(place.read()?)
                .map_err(|_| format!("{}: no text", self.url))?
                .trim()
                .to_owned(),
            Place::Http(url) => self.ask(&url).map_err(|why| format!("{url}: {why}"))?,
        };
        if text.is_empty() {
            return Err(format!("{}: there is no token", self.url));
        }
        Ok(Secret::new(text))
    }

    /// The client-credentials grant of RFC 6749, section 4.4.
    fn ask(&self, url: &str) -> Result<String, String> {
        let (id, secret) = self.client.as_ref().ok_or("clientId and clientSecret are missing")?;
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", id.as_str()),
            ("client_secret", secret.reveal()),
        ];
        let answer = agent().post(url).send_form(form).map_err(|error| error.to_string())?;
        let body = answer.into_body().into_with_config().limit(ANSWER_MAX_BYTES);
        let body = body.read_to_vec().map_err(|error| error.to_string())?;
        let value: serde_json::Value =
            serde_json::from_slice(&body).map_err(|error| error.to_string())?;
        let token = value.get("access_token").and_then(serde_json::Value::as_str);
        token.map(str::to_owned).ok_or_else(|| "no access_token in the answer".to_owned())
    }
}
