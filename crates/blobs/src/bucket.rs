//! Packs in a bucket of a server that speaks S3 (any of them), beside a folder of this machine with index, lock and names.
//!
//! ```text
//! DIR/place                the address of the bucket and the id of this store, so that neither has to be said again
//! BUCKET/PREFIX/owner      the same id: the folder that may change what lies here
//! BUCKET/PREFIX/packs/…    as in a local folder
//! ```
//!
//! Everything that is asked of the server can be asked twice: packs never change, their names are new each time, and
//! whoever removes what is gone already succeeds. So each request is tried again when it failed, was refused for want of
//! time (500, 503), broke off, or was carried out while its answer got lost.

mod http;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::prefix::PrefixStore;
use object_store::{BackoffConfig, ObjectStore, ObjectStoreExt, PutMode, PutPayload, RetryConfig, path};

use crate::BlobError;
use crate::folder;

/// The file in the store's folder that says where its packs lie.
const PLACE: &str = "place";
/// The object that says whose packs these are.
const OWNER: &str = "owner";
/// Tries after the first one, and how long they may take together: a server that restarts, or is asked too much, is waited
/// for; one that is gone is told of within a minute.
const RETRIES: usize = 8;
const PATIENCE: Duration = Duration::from_secs(60);

/// The bucket, and the folder in it, where a store keeps its packs: `s3://BUCKET[/PREFIX]`.
///
/// The server and the keys are taken from the environment, as other programs take them: `AWS_ACCESS_KEY_ID`,
/// `AWS_SECRET_ACCESS_KEY`, `AWS_ENDPOINT_URL` (Amazon's own servers without it), `AWS_REGION` and `AWS_CA_BUNDLE`; and
/// `AWS_CONDITIONAL_PUT=disabled` for one that cannot write on a condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    name: String,
    prefix: path::Path,
}

/// A text that is not the address of a bucket.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a place for packs: write s3://BUCKET or s3://BUCKET/PREFIX")]
pub struct NoBucket(String);

impl FromStr for Bucket {
    type Err = NoBucket;

    fn from_str(text: &str) -> Result<Bucket, NoBucket> {
        let bad = || NoBucket(text.to_owned());
        let rest = text.strip_prefix("s3://").ok_or_else(bad)?;
        let (name, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if name.is_empty() || !name.chars().all(fits) || prefix.starts_with('/') {
            return Err(bad());
        }
        let prefix = path::Path::parse(prefix.trim_end_matches('/')).map_err(|_| bad())?;
        Ok(Bucket { name: name.to_owned(), prefix })
    }
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slash = if self.prefix.as_ref().is_empty() { "" } else { "/" };
        write!(f, "s3://{}{slash}{}", self.name, self.prefix)
    }
}

impl Bucket {
    /// Speaks to its server, without asking anything yet.
    fn connect(&self) -> Result<Arc<dyn ObjectStore>, BlobError> {
        let bad = |problem: String| BlobError::Bucket { place: self.to_string(), problem };
        for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"] {
            if std::env::var_os(name).is_none_or(|value| value.is_empty()) {
                return Err(bad(format!("the environment has no {name}; set both keys of the server")));
            }
        }
        let roots = std::env::var_os("AWS_CA_BUNDLE").map(PathBuf::from);
        let connector = http::Connector::trusting(roots.as_deref()).map_err(|e| bad(e.to_string()))?;
        let backoff = BackoffConfig { max_backoff: Duration::from_secs(5), ..BackoffConfig::default() };
        let retry = RetryConfig { backoff, max_retries: RETRIES, retry_timeout: PATIENCE };
        let server = AmazonS3Builder::from_env()
            .with_bucket_name(&self.name)
            .with_allow_http(true)
            .with_retry(retry)
            .with_http_connector(connector)
            .build()
            .map_err(|e| bad(e.to_string()))?;
        Ok(Arc::new(PrefixStore::new(server, self.prefix.clone())))
    }

    /// Where the packs of the store in `dir` lie: in the bucket that it remembers or that is asked for; none: in itself.
    pub(crate) fn of(dir: &Path, asked: Option<&Bucket>) -> Result<Option<Bucket>, BlobError> {
        let there = Home::read(dir)?.map(|home| home.bucket);
        match (there, asked) {
            (Some(there), Some(asked)) if there != *asked => {
                let (packs, place) = (there.to_string(), asked.to_string());
                Err(BlobError::Elsewhere { dir: dir.to_owned(), packs, place })
            }
            (there, asked) => Ok(there.or_else(|| asked.cloned())),
        }
    }

    /// Opens the place for the store in `dir`, and makes it its own when it belongs to nobody.
    pub(crate) async fn open(&self, dir: &Path) -> Result<Arc<dyn ObjectStore>, BlobError> {
        self.claim(self.connect()?, dir).await
    }

    /// The same of a place that is connected to.
    async fn claim(
        &self,
        objects: Arc<dyn ObjectStore>,
        dir: &Path,
    ) -> Result<Arc<dyn ObjectStore>, BlobError> {
        let home = Home::read(dir)?;
        let object = path::Path::from(OWNER);
        let failed = |operation| move |e| BlobError::object(operation, OWNER, e);
        let owner = async || match objects.get(&object).await {
            Ok(found) => Ok(Some(found.bytes().await.map_err(failed("read"))?)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(failed("read")(error)),
        };
        let found = owner().await?;
        if home.is_none() && found.is_some() {
            return Err(BlobError::Owned { place: self.to_string(), dir: dir.to_owned() });
        }
        let id = match home {
            Some(home) => home.id,
            None => Home::make(dir, self)?.id,
        };
        let found = match found {
            Some(found) => Some(found),
            None => {
                let payload = PutPayload::from(id.clone().into_bytes());
                let put = objects.put_opts(&object, payload.clone(), PutMode::Create.into()).await;
                match put {
                    Ok(_) | Err(object_store::Error::AlreadyExists { .. }) => {}
                    // Conditions were switched off by who runs this.
                    Err(object_store::Error::NotImplemented { .. }) => {
                        objects.put(&object, payload).await.map_err(failed("write"))?;
                    }
                    Err(error) => return Err(self.unclaimed(error)),
                }
                // Another store that was started at the same time may have been first.
                owner().await?
            }
        };
        match found.is_some_and(|owner| owner == id.as_bytes()) {
            true => Ok(objects),
            false => Err(BlobError::Owned { place: self.to_string(), dir: dir.to_owned() }),
        }
    }

    /// Why nobody could be made the owner of this place.
    fn unclaimed(&self, error: object_store::Error) -> BlobError {
        let Some(reason) = http::Unconditional::behind(&error) else {
            return BlobError::object("write", OWNER, error);
        };
        let problem = format!(
            "{reason}, so two stores could take this place at the same time; use a server that does, or, if surely no \
             other store is given this place, set AWS_CONDITIONAL_PUT=disabled and start again"
        );
        BlobError::Bucket { place: self.to_string(), problem }
    }
}

/// What the store's folder remembers of where its packs lie.
struct Home {
    bucket: Bucket,
    /// Of this store, made by chance.
    id: String,
}

impl Home {
    /// What is remembered; none for a store whose packs lie in the folder itself.
    fn read(dir: &Path) -> Result<Option<Home>, BlobError> {
        let path = dir.join(PLACE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(BlobError::folder("read", path, e)),
        };
        let home = text
            .trim_end()
            .rsplit_once(' ')
            .and_then(|(bucket, id)| Some(Home { bucket: bucket.parse().ok()?, id: id.to_owned() }));
        home.map(Some)
            .ok_or_else(|| BlobError::folder("understand", path, std::io::ErrorKind::InvalidData.into()))
    }

    /// Remembers where the packs of a new store will lie. Durable when it returns.
    fn make(dir: &Path, bucket: &Bucket) -> Result<Home, BlobError> {
        let packs = dir.join("packs");
        let failed = |e| BlobError::folder("list", &packs, e);
        if fs::read_dir(&packs).map_err(failed)?.next().is_some() {
            let (packs, place) = (packs.display().to_string(), bucket.to_string());
            return Err(BlobError::Elsewhere { dir: dir.to_owned(), packs, place });
        }
        let mut id = [0; 16];
        getrandom::fill(&mut id).expect("the operating system has random numbers");
        let home = Home { bucket: bucket.clone(), id: format!("{:032x}", u128::from_be_bytes(id)) };
        let (path, draft) = (dir.join(PLACE), dir.join("place.new"));
        fs::write(&draft, format!("{bucket} {}\n", home.id))
            .and_then(|()| fs::File::open(&draft)?.sync_all())
            .and_then(|()| fs::rename(&draft, &path))
            .map_err(|e| BlobError::folder("write", &path, e))?;
        folder::sync(dir)?;
        Ok(home)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_what_they_say() {
        for text in ["s3://packs", "s3://packs/a", "s3://my.packs-1/a/b c"] {
            assert_eq!(text.parse::<Bucket>().unwrap().to_string(), text);
        }
        assert_eq!("s3://packs/a/".parse::<Bucket>().unwrap().to_string(), "s3://packs/a");
        for text in ["", "packs", "s3://", "s3:///a", "s3://a b", "s3://a/../b", "s3://a//b", "https://a/b"] {
            assert_eq!(text.parse::<Bucket>(), Err(NoBucket(text.to_owned())), "{text}");
        }
    }

    #[test]
    fn a_folder_remembers_its_bucket_and_is_not_taken_from_its_own_packs() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("packs")).unwrap();
        let bucket: Bucket = "s3://packs/a b".parse().unwrap();
        assert!(Home::read(dir.path()).unwrap().is_none());
        let made = Home::make(dir.path(), &bucket).unwrap();
        let read = Home::read(dir.path()).unwrap().unwrap();
        assert_eq!((read.bucket, read.id), (bucket.clone(), made.id));
        fs::write(dir.path().join("packs/x.pack"), "").unwrap();
        assert!(matches!(Home::make(dir.path(), &bucket), Err(BlobError::Elsewhere { .. })));
        assert_eq!(Bucket::of(dir.path(), None).unwrap(), Some(bucket));
        let other = "s3://packs/b".parse().unwrap();
        assert!(matches!(Bucket::of(dir.path(), Some(&other)), Err(BlobError::Elsewhere { .. })));
        fs::write(dir.path().join(PLACE), "somewhere").unwrap();
        assert!(Home::read(dir.path()).is_err());
    }
}
