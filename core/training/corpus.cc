#include "core/training/corpus.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <optional>
#include <string_view>

#include "core/base/json.h"
#include "core/io/mapped_file.h"
#include "core/io/safetensors.h"
#include "core/io/tokenizer.h"

namespace microtome {
namespace {

constexpr size_t kPiece = size_t{64} << 10;             // bytes that are tokenised together

struct Cutter {
  Corpus& out;
  int64_t length, vocab, max_tokens, taken = 0;
  std::optional<int64_t> start;                         // in front of every sequence
  std::vector<int64_t> open;

  bool full() const { return max_tokens > 0 && taken >= max_tokens; }
  void check(int64_t id, const std::string& where) const {
    if (id < 0 || id >= vocab)
      throw Error(StatusCode::kBadInput, "token id " + std::to_string(id) + " is outside the model's vocabulary of " + std::to_string(vocab), where,
                  "use the tokens of this model's own tokenizer");
  }
  void add(int64_t id) {
    if (open.empty() && start) open.push_back(*start);
    open.push_back(id);
    if (static_cast<int64_t>(open.size()) == length) close();
  }
  void close() {
    taken += static_cast<int64_t>(open.size());
    out.sequences.push_back(std::move(open));
    open = {};
  }
};

std::string_view bytes_of(const MappedFile& file) { return {reinterpret_cast<const char*>(file.data()), file.size()}; }

// The end of a stretch that can be tokenised alone: after a newline that something other than white space follows.
size_t piece_end(std::string_view text, size_t from) {
  if (text.size() - from <= kPiece) return text.size();
  for (size_t i = from + kPiece; i < text.size(); ++i)
    if (text[i - 1] == '\n' && !std::strchr(" \t\r\n", text[i])) return i;
  return text.size();
}

void add_text(Cutter& cut, std::string_view text, const Tokenizer& tokenizer, const std::string& where) {
  for (size_t from = 0; from < text.size() && !cut.full();) {
    const size_t to = piece_end(text, from);
    Encoding e;
    try {
      e = tokenizer.encode(text.substr(from, to - from), false);
    } catch (const Error& error) {
      throw Error(StatusCode::kBadInput, error.status().text(), where + ", from byte " + std::to_string(from), "save it as UTF-8");
    }
    for (int64_t id : e.ids) {
      cut.check(id, where);
      cut.add(id);
    }
    from = to;
  }
}

void add_row(Cutter& cut, const std::vector<int64_t>& ids, const std::string& where) {
  for (size_t from = 0; from < ids.size() && !cut.full(); from += static_cast<size_t>(cut.length)) {
    const size_t to = std::min(ids.size(), from + static_cast<size_t>(cut.length));
    for (size_t i = from; i < to; ++i) cut.check(ids[i], where);
    cut.open.assign(ids.begin() + static_cast<std::ptrdiff_t>(from), ids.begin() + static_cast<std::ptrdiff_t>(to));
    cut.close();
  }
}

void read_tensor(Cutter& cut, const std::string& path) {
  const SafetensorsFile file = SafetensorsFile::open(path).value();
  const TensorEntry* t = file.tensors().size() == 1 ? &file.tensors()[0] : file.find("input_ids");
  const bool wide = t && t->dtype == DType::kI64;
  if (!t || (!wide && t->dtype != DType::kI32) || t->shape.size() != 2)
    throw Error(StatusCode::kBadInput, "the file has no tensor 'input_ids' [sequences, length] of I64 or I32", path, "write one");
  std::vector<int64_t> row(static_cast<size_t>(t->shape[1]));
  for (int64_t r = 0; r < t->shape[0] && !cut.full(); ++r) {
    for (size_t i = 0; i < row.size(); ++i) {
      const uint8_t* at = t->data + (static_cast<size_t>(r) * row.size() + i) * dtype_size(t->dtype);
      int32_t narrow = 0;
      if (wide) std::memcpy(&row[i], at, sizeof row[i]);
      else std::memcpy(&narrow, at, sizeof narrow);
      if (!wide) row[i] = narrow;
    }
    add_row(cut, row, path + ", row " + std::to_string(r));
  }
}

void read_ids(Cutter& cut, std::string_view text, const std::string& path) {
  const Json rows = parse_json(text, path).value();
  for (size_t r = 0; r < rows.size() && !cut.full(); ++r) {
    const std::string where = path + ", row " + std::to_string(r);
    std::vector<int64_t> ids;
    for (const Json& v : rows[r]) {
      if (!v.is_number_integer()) throw Error(StatusCode::kBadInput, "an id is not an integer", where, "write [[1, 2, 3]]");
      ids.push_back(v.get<int64_t>());
    }
    if (!rows[r].is_array() || ids.empty()) throw Error(StatusCode::kBadInput, "a row is not a list of ids", where, "write [[1, 2, 3]]");
    add_row(cut, ids, where);
  }
}

void read_lines(Cutter& cut, std::string_view text, const Tokenizer& tokenizer, const std::string& path) {
  int64_t line = 0;
  for (size_t from = 0; from < text.size() && !cut.full();) {
    const size_t to = std::min(text.find('\n', from), text.size());
    const std::string where = path + ", line " + std::to_string(++line);
    if (std::string_view one = text.substr(from, to - from); one.find_first_not_of(" \t\r") != std::string_view::npos) {
      const Json j = parse_json(one, where).value();
      if (!j.is_object() || !j.contains("text") || !j["text"].is_string()) throw Error(StatusCode::kBadInput, "the line has no text", where, "write {\"text\": \"…\"}");
      add_text(cut, j["text"].get<std::string>(), tokenizer, where);
      if (tokenizer.eos_id()) cut.add(*tokenizer.eos_id());
    }
    from = to + 1;
  }
}

}  // namespace

int64_t Corpus::tokens() const {
  int64_t n = 0;
  for (const auto& s : sequences) n += static_cast<int64_t>(s.size());
  return n;
}

Corpus read_corpus(const std::string& path, const Tokenizer* tokenizer, int64_t length, bool bos, int64_t vocab, int64_t max_tokens) {
  if (length < 2) throw Error(StatusCode::kBadInput, "sequences of " + std::to_string(length) + " tokens are too short", "param length", "use at least 2");
  Corpus out;
  out.name = std::filesystem::path(path).filename().string();
  Cutter cut{out, length, vocab, max_tokens, 0, std::nullopt, {}};
  const MappedFile file = MappedFile::open(path).value();
  const std::string_view text = bytes_of(file);
  const size_t first = text.find_first_not_of(" \t\r\n");
  if (path.size() > 12 && path.substr(path.size() - 12) == ".safetensors") {
    read_tensor(cut, path);
  } else if (first != std::string_view::npos && text[first] == '[' && text.substr(first, 64).find_first_not_of("[ \t\r\n0123456789") != std::string_view::npos &&
             text.find_first_not_of("[ \t\r\n", first) != std::string_view::npos && std::strchr("0123456789", text[text.find_first_not_of("[ \t\r\n", first)])) {
    read_ids(cut, text, path);
  } else {
    if (!tokenizer) throw Error(StatusCode::kNotFound, "the model folder holds no tokenizer, and the corpus is text", path, "give token ids: [[1, 2, 3], …]");
    if (bos) cut.start = tokenizer->bos_id();
    out.starts = cut.start.has_value();
    const bool lines = first != std::string_view::npos && text[first] == '{';
    if (lines) read_lines(cut, text, *tokenizer, path);
    else add_text(cut, text, *tokenizer, path);
    if (!cut.full() && out.sequences.empty() && cut.open.size() > 1) cut.close();
  }
  if (out.sequences.empty()) throw Error(StatusCode::kBadInput, "the corpus holds no tokens", path, "name a file with text or token ids");
  return out;
}

}  // namespace microtome
