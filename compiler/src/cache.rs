//! Artifacts of earlier compilations, in a private folder of the user: the same model, options and compiler give the same artifact.
//!
//! The key is a hash of all that a compilation reads: the model and its external data, the options, the machine behind `native`, and this
//! executable. Entries appear by renaming, are verified before use, and the ones unused for longest go when the folder grows too large. What
//! goes wrong here is never an error: the model is compiled.

use crate::{
    compile::CompileOptions,
    import::{
        ImportOptions, offer_of,
        proto::{AttributeProto, GraphProto, ModelProto, NodeProto, SparseTensorProto, TensorProto},
    },
};
use prost::Message;
use std::{
    ffi::OsStr,
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
    process,
    time::SystemTime,
};
use winze_runtime::artifact::reader::{OpenOptions, Reader};

/// Changes when keys or entries change their meaning.
const VERSION: &str = "winze cache 1";
/// Bytes that the folder may hold.
const LIMIT: u64 = 4 << 30;
const SUFFIX: &str = ".wz";

/// The folder with the entries.
pub struct Cache {
    folder: PathBuf,
    limit: u64,
}

/// What identifies a compilation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key(blake3::Hash);

impl Key {
    /// `None` where something cannot be read: compiling says what.
    pub fn new(model: &Path, level: u8, options: &CompileOptions) -> Option<Self> {
        // A new option has to find its place here.
        let CompileOptions { targets, import, bind, jobs: _, emit: _ } = options;
        let ImportOptions { dims, max_sizes, specializations, values, inputs, externs } = import;
        let mut hasher = blake3::Hasher::new();
        let mut part = |label: &str, hash: &[u8]| {
            hasher.update(&(label.len() as u64).to_le_bytes()).update(label.as_bytes());
            hasher.update(&(hash.len() as u64).to_le_bytes()).update(hash);
        };
        part(VERSION, hash_of(&std::env::current_exe().ok()?).ok()?.as_bytes());
        part("targets", format!("{targets:?}").as_bytes());
        part("dims", format!("{dims:?}").as_bytes());
        part("max sizes", format!("{max_sizes:?}").as_bytes());
        part("specializations", format!("{specializations:?}").as_bytes());
        part("externs", format!("{externs:?}").as_bytes());
        part("bind", format!("{bind:?}").as_bytes());
        for value in values {
            part("value of", value.input.as_bytes());
            part("value", hash_of(&value.file).ok()?.as_bytes());
        }
        inputs.iter().for_each(|word| part("input", offer_of(word).as_bytes()));
        part("level", &[level]);
        // Locations and messages name the file.
        part("name", model.file_name()?.as_encoded_bytes());
        part("model", hash_of(model).ok()?.as_bytes());
        for file in companions(model)? {
            let hash = match hash_of(&file) {
                Ok(hash) => hash.as_bytes().to_vec(),
                Err(error) if error.kind() == io::ErrorKind::NotFound => vec![],
                Err(_) => return None,
            };
            part(&file.strip_prefix(model.parent()?).ok()?.to_string_lossy(), &hash);
        }
        Some(Self(hasher.finalize()))
    }
}

fn hash_of(path: &Path) -> io::Result<blake3::Hash> {
    // Devices and pipes may have no end.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(path)?)?;
    Ok(hasher.finalize())
}

/// Files that are read with a model.
fn companions(model: &Path) -> Option<Vec<PathBuf>> {
    if model.extension() == Some(OsStr::new("mlir")) {
        return Some(vec![model.with_extension("safetensors")]);
    }
    let file = File::open(model).ok()?;
    // SAFETY: a file that changes meanwhile may change the bytes, as it may while it is compiled; decoding bounds every access.
    let data = bytes::Bytes::from_owner(unsafe { memmap2::Mmap::map(&file).ok()? });
    let model_proto = ModelProto::decode(data).ok()?;
    let mut locations = Locations::default();
    model_proto.graph.iter().for_each(|graph| locations.graph(graph));
    model_proto.functions.iter().flat_map(|function| &function.node).for_each(|node| locations.node(node));
    locations.0.sort();
    locations.0.dedup();
    Some(locations.0.into_iter().map(|location| model.with_file_name("").join(location)).collect())
}

/// `location` of everything that is stored outside of a model.
#[derive(Default)]
struct Locations(Vec<String>);

impl Locations {
    fn graph(&mut self, graph: &GraphProto) {
        graph.initializer.iter().for_each(|tensor| self.tensor(tensor));
        graph.sparse_initializer.iter().for_each(|tensor| self.sparse(tensor));
        graph.node.iter().for_each(|node| self.node(node));
    }

    fn node(&mut self, node: &NodeProto) {
        node.attribute.iter().for_each(|attribute| self.attribute(attribute));
    }

    fn attribute(&mut self, attribute: &AttributeProto) {
        attribute.t.iter().chain(&attribute.tensors).for_each(|tensor| self.tensor(tensor));
        attribute.g.iter().chain(&attribute.graphs).for_each(|graph| self.graph(graph));
        attribute.sparse_tensor.iter().for_each(|tensor| self.sparse(tensor));
    }

    fn sparse(&mut self, tensor: &SparseTensorProto) {
        tensor.values.iter().chain(&tensor.indices).for_each(|tensor| self.tensor(tensor));
    }

    fn tensor(&mut self, tensor: &TensorProto) {
        self.0.extend(tensor.external_data.iter().filter(|entry| entry.key == "location").map(|entry| entry.value.clone()));
    }
}

impl Cache {
    /// The user's cache folder, made if missing. `None` where there is none, or others may write to it.
    pub fn of_user() -> Option<Self> {
        let absolute = |path: PathBuf| path.is_absolute().then_some(path);
        let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).and_then(absolute);
        let base = base.or_else(|| std::env::home_dir().and_then(absolute).map(|home| home.join(".cache")))?;
        Self::open(base.join("winze"), LIMIT)
    }

    fn open(folder: PathBuf, limit: u64) -> Option<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(&folder).ok()?;
        let metadata = fs::symlink_metadata(&folder).ok()?;
        // SAFETY: has no preconditions.
        let own = metadata.is_dir() && metadata.uid() == unsafe { libc::geteuid() } && metadata.mode() & 0o022 == 0;
        own.then_some(Self { folder, limit })
    }

    fn entry(&self, key: Key) -> PathBuf {
        self.folder.join(format!("{}{SUFFIX}", key.0.to_hex()))
    }

    fn temporary(&self) -> PathBuf {
        self.folder.join(format!(".{}.tmp", process::id()))
    }

    /// Puts the entry of `key` at `out`, as a file of its own or, with `link`, as the same file. Whether there was one.
    pub fn fetch(&self, key: Key, out: &Path, link: bool) -> bool {
        let entry = self.entry(key);
        if !entry.is_file() {
            return false;
        }
        if Reader::open(&entry, &OpenOptions::whole()).is_err() {
            let _ = fs::remove_file(&entry);
            return false;
        }
        if let Ok(file) = File::open(&entry) {
            // Only the order of removal suffers if this fails.
            let _ = file.set_modified(SystemTime::now());
        }
        if link && fs::hard_link(&entry, out).is_ok() {
            return true;
        }
        let Some(name) = out.file_name() else { return false };
        let beside = out.with_file_name(format!(".{}.{}.tmp", name.to_string_lossy(), process::id()));
        let copied = fs::copy(&entry, &beside).is_ok() && fs::rename(&beside, out).is_ok();
        if !copied {
            let _ = fs::remove_file(&beside);
        }
        copied
    }

    /// Keeps a copy of `artifact`.
    pub fn store(&self, key: Key, artifact: &Path) {
        let Ok(bytes) = fs::metadata(artifact).map(|metadata| metadata.len()) else { return };
        // One entry must not push all others out.
        if bytes > self.limit / 2 {
            return;
        }
        self.make_room(bytes);
        let temporary = self.temporary();
        if fs::copy(artifact, &temporary).is_err() || fs::rename(&temporary, self.entry(key)).is_err() {
            let _ = fs::remove_file(&temporary);
        }
    }

    /// Removes the entries unused for longest until `bytes` more fit, and what interrupted processes left.
    fn make_room(&self, bytes: u64) {
        const ABANDONED_SECONDS: u64 = 24 * 60 * 60;
        let Ok(folder) = fs::read_dir(&self.folder) else { return };
        let mut entries = vec![];
        for file in folder.flatten() {
            let Ok(metadata) = file.metadata() else { continue };
            let used = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            let name = file.file_name();
            let name = name.to_string_lossy();
            if name.ends_with(SUFFIX) {
                entries.push((used, metadata.len(), file.path()));
            } else if name.ends_with(".tmp") && used.elapsed().is_ok_and(|age| age.as_secs() > ABANDONED_SECONDS) {
                let _ = fs::remove_file(file.path());
            }
        }
        entries.sort();
        let mut total: u64 = entries.iter().map(|(_, bytes, _)| bytes).sum();
        for (_, size, path) in entries {
            if total + bytes <= self.limit {
                break;
            }
            let _ = fs::remove_file(path);
            total -= size;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::proto::StringStringEntryProto;

    fn options(dims: &[&str]) -> CompileOptions {
        let dims = dims.iter().map(|dim| dim.parse().unwrap()).collect();
        CompileOptions {
            targets: vec!["cpu=x86-64-v3".parse().unwrap()],
            import: ImportOptions { dims, ..Default::default() },
            bind: vec![],
            jobs: 1,
            emit: None,
        }
    }

    #[test]
    fn what_may_have_no_end_is_not_read() {
        assert!(Key::new(Path::new("/dev/zero"), 3, &options(&[])).is_none());
    }

    #[test]
    fn keys_differ_in_all_that_counts() {
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("m.onnx");
        let entry = StringStringEntryProto { key: "location".into(), value: "w.bin".into() };
        let tensor = TensorProto { external_data: vec![entry], ..Default::default() };
        let inner = GraphProto { initializer: vec![tensor], ..Default::default() };
        let attribute = AttributeProto { g: Some(inner), ..Default::default() };
        let node = NodeProto { attribute: vec![attribute], ..Default::default() };
        let graph = GraphProto { node: vec![node], ..Default::default() };
        fs::write(&model, ModelProto { ir_version: 8, graph: Some(graph.clone()), ..Default::default() }.encode_to_vec()).unwrap();
        let mut seen = vec![];
        let mut new = |what: &str, level, dims: &[&str]| {
            let key = Key::new(&model, level, &options(dims)).unwrap();
            assert_eq!(key, Key::new(&model, level, &CompileOptions { jobs: 2, ..options(dims) }).unwrap());
            assert!(!seen.contains(&key), "{what}");
            seen.push(key);
        };
        new("without data", 3, &[]);
        new("level", 2, &[]);
        new("dims", 3, &["n=1"]);
        new("bounds", 3, &["n<=1"]);
        fs::write(folder.path().join("w.bin"), [1, 2]).unwrap();
        new("data", 3, &[]);
        fs::write(folder.path().join("w.bin"), [1, 3]).unwrap();
        new("other data", 3, &[]);
        fs::write(&model, ModelProto { ir_version: 9, graph: Some(graph), ..Default::default() }.encode_to_vec()).unwrap();
        new("model", 3, &[]);
        fs::write(&model, [0xff; 8]).unwrap();
        assert_eq!(Key::new(&model, 3, &options(&[])), None, "a damaged model");
    }

    #[test]
    fn values_count_and_inputs_by_what_they_offer() {
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("m.mlir");
        fs::write(&model, "").unwrap();
        let saved = |name: &str, count: usize, value: f32| {
            let path = folder.path().join(name);
            winze_runtime::npy::write(&path, &winze_runtime::TensorView::of(&[count as i64], &vec![value; count])).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let key = |inputs: &[String], values: &[String]| {
            let values = values.iter().map(|text| text.parse().unwrap()).collect();
            let import = ImportOptions { inputs: inputs.to_vec(), values, ..Default::default() };
            Key::new(&model, 3, &CompileOptions { import, ..options(&[]) }).unwrap()
        };
        let (small, same, other) = (saved("a.npy", 2, 1.0), saved("b.npy", 2, 1.0), saved("c.npy", 2, 3.0));
        assert_eq!(key(std::slice::from_ref(&small), &[]), key(std::slice::from_ref(&same), &[]), "the name of the file");
        let (large, larger, moved) = (saved("d.npy", 2000, 1.0), saved("e.npy", 2001, 1.0), saved("f.npy", 2000, 3.0));
        assert_eq!(key(std::slice::from_ref(&large), &[]), key(&[moved], &[]), "large data");
        let value = |name: &str, file: &str| vec![format!("{name}={file}")];
        let different = [
            key(&[], &[]),
            key(std::slice::from_ref(&small), &[]),
            key(std::slice::from_ref(&other), &[]),
            key(&value("x", &small), &[]),
            key(&value("y", &small), &[]),
            key(&[large], &[]),
            key(&[larger], &[]),
            key(&[], &value("x", &small)),
            key(&[], &value("y", &small)),
            key(&[], &value("x", &other)),
        ];
        for (i, key) in different.iter().enumerate() {
            assert!(!different[..i].contains(key), "{i}");
        }
    }

    #[test]
    fn a_side_file_counts_when_it_appears() {
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("m.mlir");
        fs::write(&model, "").unwrap();
        let before = Key::new(&model, 3, &options(&[])).unwrap();
        fs::write(folder.path().join("m.safetensors"), [1]).unwrap();
        assert_ne!(Some(before), Key::new(&model, 3, &options(&[])));
    }

    #[test]
    fn the_folder_is_private_bounded_and_verified() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path().join("winze"), 100).unwrap();
        let key = |text: &str| Key(blake3::hash(text.as_bytes()));
        let (artifact, out) = (folder.path().join("a"), folder.path().join("out"));
        fs::write(&artifact, [0; 40]).unwrap();
        for name in ["a", "b", "c"] {
            cache.store(key(name), &artifact);
            let file = File::options().write(true).open(cache.entry(key(name))).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(u64::from(name.as_bytes()[0]))).unwrap();
        }
        assert_eq!(["a", "b", "c"].map(|name| cache.entry(key(name)).exists()), [false, true, true]);
        fs::write(&artifact, [0; 51]).unwrap();
        cache.store(key("large"), &artifact);
        assert!(!cache.entry(key("large")).exists());
        assert!(!cache.fetch(key("b"), &out, true) && !out.exists() && !cache.entry(key("b")).exists(), "no artifact");
        assert!(!cache.fetch(key("a"), &out, false));
        let open = folder.path().join("open");
        DirBuilder::new().mode(0o777).create(&open).unwrap();
        fs::set_permissions(&open, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        assert!(Cache::open(open, 100).is_none());
    }
}
