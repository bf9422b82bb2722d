#include <array>
#include <filesystem>
#include <fstream>
#include <set>

#include "core/base/quote.h"
#include "core/base/sha256.h"
#include "core/tasks/task.h"

namespace microtome {
namespace {

constexpr size_t kMaxLineBytes = size_t{4} << 20;
constexpr uintmax_t kMaxFileBytes = uintmax_t{1} << 30;
constexpr int64_t kMaxLines = 1000000;
constexpr size_t kMaxIds = 131072;           // ids of one prompt, or answers of one line
constexpr int64_t kMaxId = int64_t{1} << 31;

constexpr std::array<const char*, 11> kFields = {"clean",         "corrupted", "answer",     "answers",
                                                 "wrong_answers", "clean_ids", "corrupted_ids", "answer_id",
                                                 "answer_ids",    "wrong_ids", "positions"};

bool is_field(const std::string& key) {
  for (const char* f : kFields) {
    if (key == f) return true;
  }
  return false;
}

[[noreturn]] void bad(const std::string& field, const std::string& what, const std::string& where,
                      const std::string& todo = {}) {
  throw Error(StatusCode::kBadInput, "field '" + field + "' " + what, where, todo);
}

// Null counts as absent everywhere.
const Json* find_field(const Json& line, const char* key) {
  const auto it = line.find(key);
  return it == line.end() || it->is_null() ? nullptr : &*it;
}

std::string read_text(const Json& line, const char* key, const std::string& where) {
  const Json* v = find_field(line, key);
  if (!v) return {};
  if (!v->is_string()) bad(key, "must be a text", where);
  const auto& text = v->get_ref<const std::string&>();
  if (text.empty()) bad(key, "is empty", where);
  return text;
}

std::vector<std::string> read_texts(const Json& line, const char* key, const std::string& where) {
  const Json* v = find_field(line, key);
  if (!v) return {};
  if (!v->is_array()) bad(key, "must be a list of texts", where);
  if (v->size() > kMaxIds) bad(key, "has more than " + std::to_string(kMaxIds) + " entries", where);
  std::vector<std::string> out;
  for (const Json& e : *v) {
    if (!e.is_string()) bad(key, "must hold texts", where);
    out.push_back(e.get<std::string>());
    if (out.back().empty()) bad(key, "holds an empty text", where);
  }
  return out;
}

int64_t read_index(const Json& v, const std::string& key, const std::string& where) {
  if (!v.is_number_integer()) bad(key, "must hold whole numbers", where);
  if (v.is_number_unsigned() ? v.get<uint64_t>() >= static_cast<uint64_t>(kMaxId)
                             : v.get<int64_t>() < 0 || v.get<int64_t>() >= kMaxId) {
    bad(key, "holds " + v.dump() + ", and only 0 to " + std::to_string(kMaxId - 1) + " can be", where);
  }
  return v.get<int64_t>();
}

std::vector<int64_t> read_ids(const Json& line, const char* key, const std::string& where) {
  const Json* v = find_field(line, key);
  if (!v) return {};
  if (!v->is_array()) bad(key, "must be a list of token ids", where);
  if (v->size() > kMaxIds) bad(key, "has more than " + std::to_string(kMaxIds) + " ids", where);
  std::vector<int64_t> out;
  out.reserve(v->size());
  for (const Json& e : *v) out.push_back(read_index(e, key, where));
  return out;
}

// `one` and `many` say the same thing; where both are there, `one` must be among `many`.
template <class T>
void join_answers(std::vector<T>& many, const std::optional<T>& one, const char* many_key, const char* one_key,
                  const std::string& where) {
  if (!one) return;
  if (many.empty()) {
    many.push_back(*one);
    return;
  }
  for (const T& m : many) {
    if (m == *one) return;
  }
  bad(one_key, std::string("is not among '") + many_key + "'", where, "give one of the two, or put it into the list");
}

void read_positions(const Json& line, PromptPair& pair, const std::string& where) {
  const Json* v = find_field(line, "positions");
  if (!v) return;
  if (!v->is_object()) bad("positions", "must be an object {label: index}", where);
  const auto put = [&](const std::string& label, int64_t index) {
    if (!pair.positions.emplace(label, index).second) bad("positions", "names " + in_quotes(label) + " twice", where);
  };
  for (const auto& [label, value] : v->items()) {
    const std::string field = "positions." + in_quotes(label);
    if (value.is_null()) continue;
    if (!value.is_array()) {
      put(label, read_index(value, field, where));
      continue;
    }
    if (value.size() > kMaxIds) bad(field, "has more than " + std::to_string(kMaxIds) + " entries", where);
    for (size_t i = 0; i < value.size(); ++i) {
      put(i == 0 ? label : label + "_" + std::to_string(i), read_index(value[i], field, where));
    }
  }
}

PromptPair read_line(const std::string& text, int64_t number, const std::string& where) {
  JsonLimits limits;
  limits.max_bytes = kMaxLineBytes;
  limits.max_depth = 16;
  const Json line = parse_json(text, where, limits).value();
  if (!line.is_object()) throw Error(StatusCode::kBadInput, "a line must be a JSON object", where);
  PromptPair pair;
  pair.line = number;
  pair.clean = read_text(line, "clean", where);
  pair.corrupted = read_text(line, "corrupted", where);
  pair.clean_ids = read_ids(line, "clean_ids", where);
  pair.corrupted_ids = read_ids(line, "corrupted_ids", where);
  if (pair.clean.empty() && pair.clean_ids.empty()) {
    bad("clean", "is missing", where, "give the prompt as 'clean' or as 'clean_ids'");
  }
  pair.answers = read_texts(line, "answers", where);
  std::optional<std::string> answer;
  if (find_field(line, "answer")) answer = read_text(line, "answer", where);
  join_answers(pair.answers, answer, "answers", "answer", where);
  pair.answer_ids = read_ids(line, "answer_ids", where);
  std::optional<int64_t> answer_id;
  if (const Json* v = find_field(line, "answer_id")) answer_id = read_index(*v, "answer_id", where);
  join_answers(pair.answer_ids, answer_id, "answer_ids", "answer_id", where);
  pair.wrong_answers = read_texts(line, "wrong_answers", where);
  pair.wrong_ids = read_ids(line, "wrong_ids", where);
  const auto aligned = [&](size_t texts, size_t ids, const char* a, const char* b) {
    if (texts && ids && texts != ids) {
      bad(a, "has " + std::to_string(texts) + " entries and '" + b + "' " + std::to_string(ids), where);
    }
  };
  aligned(pair.answers.size(), pair.answer_ids.size(), "answers", "answer_ids");
  aligned(pair.wrong_answers.size(), pair.wrong_ids.size(), "wrong_answers", "wrong_ids");
  read_positions(line, pair, where);
  for (const auto& [key, value] : line.items()) {
    if (is_field(key) || value.is_null()) continue;
    pair.labels[key] = value.is_string() ? value.get<std::string>() : value.dump();
  }
  return pair;
}

// One line at a time, so that neither a file without line ends nor one that grows while it is read fills the memory.
class LineReader {
 public:
  LineReader(const std::string& path) : in_(path, std::ios::binary), chunk_(size_t{1} << 16, '\0') {}
  bool opened() const { return in_.is_open(); }
  bool failed() const { return in_.bad(); }

  bool next(std::string& line, const std::string& file, int64_t number) {
    line.clear();
    bool any = false;
    for (;;) {
      if (at_ == filled_) {
        in_.read(chunk_.data(), static_cast<std::streamsize>(chunk_.size()));
        filled_ = static_cast<size_t>(in_.gcount());
        at_ = 0;
        total_ += filled_;
        if (total_ > kMaxFileBytes) throw Error(StatusCode::kBadInput, "the file is larger than 1 GB", file);
        if (filled_ == 0) return any;
      }
      any = true;
      const size_t end = chunk_.find('\n', at_);
      const bool ends = end != std::string::npos && end < filled_;
      const size_t take = (ends ? end : filled_) - at_;
      if (line.size() + take > kMaxLineBytes) {
        throw Error(StatusCode::kBadInput, "the line is longer than 4 MB", file + ", line " + std::to_string(number));
      }
      line.append(chunk_, at_, take);
      at_ += take + (ends ? 1 : 0);
      if (ends) return true;
    }
  }

 private:
  std::ifstream in_;
  std::string chunk_;
  size_t at_ = 0, filled_ = 0;
  uintmax_t total_ = 0;
};

Json line_json(const PromptPair& pair) {
  Json j = Json::object();
  const auto put = [&](const char* key, const auto& v) {
    if (!v.empty()) j[key] = v;
  };
  put("clean", pair.clean);
  put("corrupted", pair.corrupted);
  if (pair.answers.size() == 1) {
    j["answer"] = pair.answers[0];
  } else {
    put("answers", pair.answers);
  }
  put("wrong_answers", pair.wrong_answers);
  put("clean_ids", pair.clean_ids);
  put("corrupted_ids", pair.corrupted_ids);
  if (pair.answer_ids.size() == 1) {
    j["answer_id"] = pair.answer_ids[0];
  } else {
    put("answer_ids", pair.answer_ids);
  }
  put("wrong_ids", pair.wrong_ids);
  if (!pair.positions.empty()) {
    for (const auto& [label, index] : pair.positions) j["positions"][label] = index;
  }
  for (const auto& [key, value] : pair.labels) {
    if (is_field(key)) throw Error(StatusCode::kBadInput, "a label may not be called '" + key + "'", "dataset");
    j[key] = value;
  }
  return j;
}

class Hasher {
 public:
  void text(std::string_view tag, std::string_view value) {
    const std::string head = std::string(tag) + " " + std::to_string(value.size()) + ":";
    sha_.update(head);
    sha_.update(value);
  }
  void ids(std::string_view tag, const std::vector<int64_t>& values) {
    std::string t;
    for (int64_t v : values) t += std::to_string(v) + ",";
    text(tag, t);
  }
  // The ids hold where there are any; the text counts only as long as nothing has made ids of it.
  void prompt(const char* tag, const std::vector<int64_t>& values, const std::string& value) {
    values.empty() ? text(std::string(tag) + " text", value) : ids(std::string(tag) + " ids", values);
  }
  void answers(const char* tag, const std::vector<int64_t>& values, const std::vector<std::string>& texts) {
    if (!values.empty()) return ids(std::string(tag) + " ids", values);
    text(tag, std::to_string(texts.size()));
    for (const std::string& t : texts) text("t", t);
  }
  std::string hex() { return sha_.hex(); }

 private:
  Sha256 sha_;
};

}  // namespace

std::string Dataset::hash() const {
  Hasher h;
  h.text("format", "microtome dataset 1");
  h.text("pairs", std::to_string(pairs.size()));
  for (const PromptPair& p : pairs) {
    h.prompt("clean", p.clean_ids, p.clean);
    h.prompt("corrupted", p.corrupted_ids, p.corrupted);
    h.answers("answers", p.answer_ids, p.answers);
    h.answers("wrong", p.wrong_ids, p.wrong_answers);
    h.text("positions", std::to_string(p.positions.size()));
    for (const auto& [label, index] : p.positions) {
      h.text("label", label);
      h.text("index", std::to_string(index));
    }
    // An analysis may group prompts by a label.
    h.text("labels", std::to_string(p.labels.size()));
    for (const auto& [key, value] : p.labels) {
      h.text("key", key);
      h.text("value", value);
    }
  }
  return h.hex();
}

Result<Dataset> read_dataset(const std::string& jsonl_path) {
  Dataset dataset;
  const Status status = catch_status([&] {
    namespace fs = std::filesystem;
    std::error_code ec;
    const fs::file_status kind = fs::status(jsonl_path, ec);
    if (kind.type() == fs::file_type::not_found) {
      throw Error(StatusCode::kNotFound, "there is no such file", jsonl_path, "give the path of a .jsonl file");
    }
    if (!fs::is_regular_file(kind)) throw Error(StatusCode::kBadInput, "this is not a plain file", jsonl_path);
    const uintmax_t size = fs::file_size(jsonl_path, ec);
    if (ec) throw Error(StatusCode::kFailed, "cannot read the file: " + ec.message(), jsonl_path);
    if (size > kMaxFileBytes) throw Error(StatusCode::kBadInput, "the file is larger than 1 GB", jsonl_path);
    dataset.name = fs::path(jsonl_path).filename().string();
    LineReader reader(jsonl_path);
    if (!reader.opened()) throw Error(StatusCode::kFailed, "cannot open the file for reading", jsonl_path);
    std::string line;
    for (int64_t number = 1; reader.next(line, jsonl_path, number); ++number) {
      if (number > kMaxLines) {
        throw Error(StatusCode::kBadInput, "the file has more than " + std::to_string(kMaxLines) + " lines",
                    jsonl_path);
      }
      if (number == 1 && line.rfind("\xEF\xBB\xBF", 0) == 0) line.erase(0, 3);
      if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
      dataset.pairs.push_back(read_line(line, number, jsonl_path + ", line " + std::to_string(number)));
    }
    if (reader.failed()) throw Error(StatusCode::kFailed, "reading the file failed", jsonl_path);
    if (dataset.pairs.empty()) {
      throw Error(StatusCode::kBadInput, "the file holds no line with a prompt", jsonl_path,
                  "give one JSON object a line: {\"clean\": …, \"corrupted\": …, \"answer\": …}");
    }
  });
  if (!status) return status;
  return dataset;
}

Status write_dataset(const std::string& jsonl_path, const Dataset& dataset) {
  return catch_status([&] {
    std::string text;
    for (const PromptPair& pair : dataset.pairs) text += line_json(pair).dump() + "\n";
    const Status written = write_text_file(jsonl_path, text);
    if (!written) throw Error(written);
  });
}

}  // namespace microtome
