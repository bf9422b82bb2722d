#include <array>
#include <filesystem>

#include "core/io/tokenizer/hf_tokenizer.h"
#include "core/io/tokenizer/rwkv_tokenizer.h"

namespace microtome {
namespace {

constexpr size_t kMaxTokenizerBytes = size_t{256} << 20;
constexpr size_t kMaxSmallFileBytes = size_t{16} << 20;

Result<std::shared_ptr<const Tokenizer>> build(std::string_view json_text, const std::string& where,
                                               const tok::SpecialNames& names) {
  std::shared_ptr<const Tokenizer> tokenizer;
  const Status status = catch_status(
      [&] { tokenizer = std::make_shared<const tok::HfTokenizer>(json_text, where, names); });
  if (!status) return status;
  return tokenizer;
}

Result<std::shared_ptr<const Tokenizer>> open_rwkv(const std::string& path) {
  Result<std::string> text = read_text_file(path, kMaxTokenizerBytes);
  if (!text) return text.status();
  std::shared_ptr<const Tokenizer> tokenizer;
  const Status status = catch_status([&] { tokenizer = std::make_shared<const tok::RwkvTokenizer>(*text, path); });
  if (!status) return status;
  return tokenizer;
}

// rwkv_vocab*.txt of a folder without tokenizer.json, the first by name; empty: there is none.
std::string rwkv_vocabulary(const std::string& folder) {
  std::string found;
  std::error_code error;
  for (const auto& e : std::filesystem::directory_iterator(folder, error)) {
    const std::string name = e.path().filename().string();
    if (!name.starts_with("rwkv_vocab") || !name.ends_with(".txt")) continue;
    if (found.empty() || e.path().string() < found) found = e.path().string();
  }
  return found;
}

// The object in a small JSON file of a model's folder; null when there is no such file.
Json read_small(const std::filesystem::path& path) {
  std::error_code error;
  if (!std::filesystem::exists(path, error)) return nullptr;
  JsonLimits limits;
  limits.max_bytes = kMaxSmallFileBytes;
  limits.allow_infinity = true;
  Json json = read_json_file(path.string(), limits).value();
  if (!json.is_object()) throw Error(StatusCode::kBadInput, "this file must hold an object", path.string());
  return json;
}

// "bos_token": "<s>", {"content": "<s>", …} or null. True when the file says anything about it.
bool read_name(const Json& json, const char* key, const std::string& where, std::optional<std::string>& name) {
  if (!json.is_object()) return false;
  const auto it = json.find(key);
  if (it == json.end()) return false;
  if (it->is_string()) {
    name = it->get<std::string>();
  } else if (it->is_object()) {
    name = json_string(*it, "content", where + ": " + key);
  } else if (!it->is_null()) {
    throw Error(StatusCode::kBadInput, std::string("field '") + key + "' must be a string or hold 'content'", where);
  }
  return true;
}

// config.json's bos_token_id: a number, or a list whose first one counts.
void read_id(const Json& config, const char* key, std::optional<int64_t>& id) {
  if (!config.is_object()) return;
  auto it = config.find(key);
  if (it == config.end()) return;
  const Json& value = it->is_array() && !it->empty() ? it->front() : *it;
  if (value.is_number_integer()) id = value.get<int64_t>();
}

tok::SpecialNames read_names(const std::filesystem::path& folder) {
  tok::SpecialNames names;
  for (const char* file : {"tokenizer_config.json", "special_tokens_map.json"}) {
    const std::string where = (folder / file).string();
    const Json json = read_small(folder / file);
    if (!names.bos_known) names.bos_known = read_name(json, "bos_token", where, names.bos);
    if (!names.eos_known) names.eos_known = read_name(json, "eos_token", where, names.eos);
  }
  if (names.bos_known && names.eos_known) return names;
  const Json config = read_small(folder / "config.json");
  if (!names.bos_known) read_id(config, "bos_token_id", names.bos_id);
  if (!names.eos_known) read_id(config, "eos_token_id", names.eos_id);
  names.bos_known = names.bos_known || names.bos_id.has_value();
  names.eos_known = names.eos_known || names.eos_id.has_value();
  return names;
}

}  // namespace

Result<std::shared_ptr<const Tokenizer>> Tokenizer::open(const std::string& tokenizer_json_path) {
  if (tokenizer_json_path.ends_with(".txt")) return open_rwkv(tokenizer_json_path);
  Result<std::string> text = read_text_file(tokenizer_json_path, kMaxTokenizerBytes);
  if (!text) return text.status();
  return parse(*text, tokenizer_json_path);
}

Result<std::shared_ptr<const Tokenizer>> Tokenizer::parse(std::string_view json_text, const std::string& where) {
  return build(json_text, where, {});
}

Result<std::shared_ptr<const Tokenizer>> Tokenizer::open_folder(const std::string& folder) {
  const std::filesystem::path path = std::filesystem::path(folder) / "tokenizer.json";
  std::error_code error;
  if (!std::filesystem::exists(path, error)) {
    const std::string rwkv = rwkv_vocabulary(folder);
    return rwkv.empty() ? std::shared_ptr<const Tokenizer>() : open_rwkv(rwkv);
  }
  tok::SpecialNames names;
  const Status status = catch_status([&] { names = read_names(folder); });
  if (!status) return status;
  Result<std::string> text = read_text_file(path.string(), kMaxTokenizerBytes);
  if (!text) return text.status();
  return build(*text, path.string(), names);
}

// "In the middle of a text" is settled by decoding: the token's text behind another token must be `text` exactly, so
// "▁Mary" is the token of " Mary" and not of "Mary". The candidate comes from encoding `text` alone, or, where a
// normalizer or pre-tokenizer treats the start of a text differently (SentencePiece's prefix space), from what `text`
// adds to a short context. Contexts that `text` could merge with simply yield no candidate, and the next one is tried:
// a letter suits text that begins with a space, a line break or a sign suits a bare word.
std::optional<int64_t> Tokenizer::single_token(std::string_view text) const {
  if (text.empty()) return std::nullopt;
  const std::vector<int64_t> letter = encode("a", false).ids;
  const std::string letter_text = decode(letter);
  const auto reads_as_text = [&](int64_t id) {
    std::vector<int64_t> both = letter;
    both.push_back(id);
    return decode(both) == letter_text + std::string(text);
  };
  const std::vector<int64_t> alone = encode(text, false).ids;
  if (alone.size() == 1 && reads_as_text(alone[0])) return alone[0];
  for (const char* context : {"a", "\n", "=", "1", "."}) {
    const std::vector<int64_t> before = encode(context, false).ids;
    const std::vector<int64_t> both = encode(context + std::string(text), false).ids;
    if (both.size() != before.size() + 1 || !std::equal(before.begin(), before.end(), both.begin())) continue;
    if (reads_as_text(both.back())) return both.back();
  }
  return std::nullopt;
}

}  // namespace microtome
