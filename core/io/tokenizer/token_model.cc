#include "core/io/tokenizer/token_model.h"

#include "core/base/quote.h"

namespace microtome::tok {
namespace {

struct Kind {
  const char* type;
  std::unique_ptr<TokenModel> (*make)(const Json& spec, const std::string& where);
};
constexpr Kind kKinds[] = {{"BPE", make_bpe}, {"Unigram", make_unigram}, {"WordPiece", make_word_piece}};

}  // namespace

std::unique_ptr<TokenModel> make_model(const Json& spec, const std::string& where) {
  if (!spec.is_object()) throw Error(StatusCode::kBadInput, "field 'model' must be an object", where);
  // Files from before the field existed are BPE when they have merges.
  const std::string type = json_string(spec, "type", spec.contains("merges") ? "BPE" : "", where + ": model");
  std::string known;
  for (const Kind& kind : kKinds) {
    if (type == kind.type) return kind.make(spec, where);
    known += (known.empty() ? "" : ", ") + std::string(kind.type);
  }
  throw Error(StatusCode::kUnsupported, "the tokenizer model type " + in_quotes(type) + " is not supported",
              where + ": model.type", "supported: " + known);
}

}  // namespace microtome::tok
