// Folders that hold dictionaries, and the folder that is being made.
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <tuple>

#include "core/base/quote.h"
#include "core/dictionary/formats/files.h"

namespace microtome::dictionary_formats {

namespace fs = std::filesystem;

namespace {

constexpr int kDeepest = 4;
constexpr size_t kMostEntries = 100'000;

// "layer_2" before "layer_10": stretches of digits count as numbers.
bool natural_less(const std::string& a, const std::string& b) {
  const auto digit = [](char c) { return c >= '0' && c <= '9'; };
  size_t i = 0, j = 0;
  while (i < a.size() && j < b.size()) {
    if (digit(a[i]) && digit(b[j])) {
      const auto run = [&](const std::string& s, size_t& at) {
        while (at < s.size() && s[at] == '0') ++at;
        const size_t begin = at;
        while (at < s.size() && digit(s[at])) ++at;
        return s.substr(begin, at - begin);
      };
      const std::string x = run(a, i), y = run(b, j);
      if (x.size() != y.size()) return x.size() < y.size();
      if (x != y) return x < y;
      continue;
    }
    if (a[i] != b[j]) return a[i] < b[j];
    ++i, ++j;
  }
  return std::tuple(a.size() - i, a) < std::tuple(b.size() - j, b);
}

void search(const fs::path& folder, const std::string& marker, int depth, size_t most, size_t& looked, std::vector<fs::path>& out) {
  std::error_code ec;
  if (fs::is_regular_file(folder / marker, ec)) {
    out.push_back(folder);
    return;
  }
  if (depth == kDeepest) return;
  std::vector<std::string> below;
  for (fs::directory_iterator it(folder, fs::directory_options::skip_permission_denied, ec), end; !ec && it != end && looked < kMostEntries; it.increment(ec)) {
    ++looked;
    std::error_code ignored;
    const std::string name = it->path().filename().string();
    if (!name.empty() && name[0] != '.' && !it->is_symlink(ignored) && it->is_directory(ignored)) below.push_back(name);
  }
  std::sort(below.begin(), below.end(), natural_less);
  for (const std::string& name : below)
    if (out.size() < most) search(folder / name, marker, depth + 1, most, looked, out);
}

}  // namespace

fs::path folder_of(const std::string& path, const std::string& marker) {
  const fs::path p(path);
  std::error_code ec;
  if (p.filename() == marker && fs::is_regular_file(p, ec)) return p.has_parent_path() ? p.parent_path() : fs::path(".");
  return p;
}

std::string name_of(const fs::path& path) {
  std::error_code ec;
  fs::path p = fs::absolute(path, ec).lexically_normal();
  if (p.filename().empty()) p = p.parent_path();
  return p.filename().string();
}

std::vector<fs::path> folders_with(const fs::path& folder, const std::string& marker, size_t most) {
  std::vector<fs::path> out;
  try {
    size_t looked = 0;
    search(folder, marker, 0, most, looked, out);
  } catch (const std::exception&) {
    out.clear();                           // a name that no path can hold
  }
  return out;
}

bool holds(const std::string& path, const std::string& marker) {
  const fs::path folder = folder_of(path, marker);
  std::error_code ec;
  if (fs::is_regular_file(folder / marker, ec)) return true;
  return !fs::exists(folder / "config.yaml", ec) && !folders_with(folder, marker, 1).empty();
}

void sort_members(DictionarySet& set) {
  std::vector<std::pair<int64_t, size_t>> order;
  for (size_t i = 0; i < set.members.size(); ++i) order.push_back({layer_of_hook(set.members[i].config.hook_in), i});
  std::stable_sort(order.begin(), order.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<Dictionary> members;
  set.layers.clear();
  for (const auto& [layer, i] : order) {
    members.push_back(std::move(set.members[i]));
    set.layers.push_back(layer);
  }
  set.members = std::move(members);
}

DictionarySet read_folders(const std::string& path, const std::string& marker, const std::string& format,
                           const std::function<Dictionary(const fs::path& folder)>& read) {
  const fs::path root = folder_of(path, marker);
  const std::vector<fs::path> found = folders_with(root, marker);
  if (found.empty()) throw Error(StatusCode::kBadInput, "no " + marker + " is in the folder or in folders below it", path, "name the folder that holds it");
  DictionarySet set;
  set.name = name_of(root);
  set.format = format;
  for (const fs::path& folder : found) {
    Dictionary d = read(folder);
    if (d.config.name.empty()) d.config.name = folder == root ? set.name : folder.lexically_relative(root).generic_string();
    set.members.push_back(std::move(d));
  }
  sort_members(set);
  return set;
}

std::string unique_name(std::string name, std::set<std::string>& used) {
  for (char& c : name)
    if (!std::isalnum(static_cast<unsigned char>(c)) && c != '.' && c != '_' && c != '-') c = '_';
  name.resize(std::min<size_t>(name.size(), 100));
  if (name.empty() || name[0] == '.') name = "dictionary" + name;
  std::string out = name;
  for (int n = 2; !used.insert(out).second; ++n) out = name + "-" + std::to_string(n);
  return out;
}

Json read_config(const fs::path& file) {
  JsonLimits limits;
  limits.max_bytes = size_t{16} << 20;
  limits.allow_infinity = true;
  Json out = read_json_file(file.string(), limits).value();
  if (!out.is_object()) throw Error(StatusCode::kBadInput, "the file is no JSON object", file.string(), "a dictionary's configuration is one");
  return out;
}

NewFolder::NewFolder(const std::string& path) {
  std::error_code ec;
  path_ = fs::absolute(path, ec).lexically_normal();
  if (path_.filename().empty()) path_ = path_.parent_path();
  if (fs::exists(path_, ec) && !(fs::is_directory(path_, ec) && fs::is_empty(path_, ec)))
    throw Error(StatusCode::kBadInput, "the output exists and is not an empty folder", path, "choose another --out");
  static std::atomic<int> serial{0};
  temporary_ = path_.parent_path() / ("." + path_.filename().string() + ".part-" + std::to_string(getpid()) + "-" + std::to_string(++serial));
  fs::create_directories(temporary_, ec);
  if (ec) throw Error(StatusCode::kFailed, "the folder cannot be made: " + ec.message(), path, "choose another --out");
}

NewFolder::~NewFolder() {
  std::error_code ignored;
  if (!temporary_.empty()) fs::remove_all(temporary_, ignored);
}

fs::path NewFolder::file(const std::string& relative) {
  const fs::path out = temporary_ / relative;
  std::error_code ec;
  fs::create_directories(out.parent_path(), ec);
  if (ec) throw Error(StatusCode::kFailed, "the folder cannot be made: " + ec.message(), out.parent_path().string(), "choose another --out");
  return out;
}

void NewFolder::commit() {
  std::error_code ec;
  fs::rename(temporary_, path_, ec);       // over an empty folder as well
  if (ec) throw Error(StatusCode::kFailed, "the folder cannot be put in place: " + ec.message(), path_.string(), "choose another --out");
  temporary_.clear();
}

std::string in_block(int64_t layer, const std::string& point) { return "blocks." + std::to_string(layer) + "." + point; }

std::string after_block(const std::string& hook) {
  const int64_t layer = layer_of_hook(hook);
  const std::string prefix = in_block(layer, "");
  return layer >= 0 && hook.starts_with(prefix) ? hook.substr(prefix.size()) : std::string();
}

}  // namespace microtome::dictionary_formats
