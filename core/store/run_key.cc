#include "core/base/sha256.h"
#include "core/store/run_spec.h"

namespace microtome {

namespace {

// Newlines end a field and '=' ends a tag, so neither may appear bare in what a user can choose.
void append_escaped(std::string& out, const std::string& text, bool is_tag) {
  static const char* kHex = "0123456789abcdef";
  for (unsigned char c : text) {
    if (c == '\\') {
      out += "\\\\";
    } else if (c == '\n') {
      out += "\\n";
    } else if (c < 0x20 || c == 0x7f || (is_tag && c == '=')) {
      out += "\\x";
      out += kHex[c >> 4];
      out += kHex[c & 15];
    } else {
      out += static_cast<char>(c);
    }
  }
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

std::string unescaped(const std::string& text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\\' || i + 1 == text.size()) {
      out += text[i];
      continue;
    }
    char kind = text[++i];
    if (kind == 'n') {
      out += '\n';
    } else if (kind == 'x' && i + 2 < text.size() && hex_digit(text[i + 1]) >= 0 && hex_digit(text[i + 2]) >= 0) {
      out += static_cast<char>(hex_digit(text[i + 1]) << 4 | hex_digit(text[i + 2]));
      i += 2;
    } else {
      out += kind;
    }
  }
  return out;
}

}  // namespace

RunKey make_run_key(const RunSpec& spec) {
  RunKey key;
  auto add = [&key](std::string tag, std::string value) { key.fields.emplace_back(std::move(tag), std::move(value)); };
  add("analysis", spec.analysis);
  add("analysis_version", std::to_string(spec.analysis_version));
  for (const auto& [name, value] : spec.answer_params) add("param." + name, value);
  add("weights", spec.weights_hash);
  add("tokenizer", spec.tokenizer_hash);
  add("dataset", spec.dataset_hash);
  add("form", spec.form);
  add("dtype", spec.dtype);
  add("tf32", spec.tf32 ? "true" : "false");
  add("bos", spec.bos);
  add("seed", std::to_string(spec.seed));
  add("interventions", spec.interventions);
  add("plugin", spec.plugin_hash);
  for (const auto& [tag, value] : key.fields) {
    append_escaped(key.text, tag, true);
    key.text += '=';
    append_escaped(key.text, value, false);
    key.text += '\n';
  }
  key.hash = sha256_hex(key.text);
  return key;
}

std::vector<std::pair<std::string, std::string>> parse_key_text(const std::string& text) {
  std::vector<std::pair<std::string, std::string>> fields;
  size_t begin = 0;
  while (begin < text.size()) {
    size_t end = text.find('\n', begin);
    if (end == std::string::npos) end = text.size();
    std::string line = text.substr(begin, end - begin);
    size_t equals = line.find('=');
    if (equals == std::string::npos) equals = line.size();
    fields.emplace_back(unescaped(line.substr(0, equals)),
                        equals < line.size() ? unescaped(line.substr(equals + 1)) : std::string());
    begin = end + 1;
  }
  return fields;
}

}  // namespace microtome
