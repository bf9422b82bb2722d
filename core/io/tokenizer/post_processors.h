// post_processors.h — the "post_processor" of tokenizer.json: trims offsets and puts special tokens around the text.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "core/base/json.h"
#include "core/io/tokenizer.h"

namespace microtome::tok {

// Immutable; thread-safe.
class PostProcessor {
 public:
  virtual ~PostProcessor() = default;
  virtual void apply(Encoding& encoding, bool add_special) const = 0;
  // The special token that comes before the text, if one does.
  virtual std::optional<int64_t> first_special() const { return std::nullopt; }
};

// ByteLevel, TemplateProcessing, BertProcessing, RobertaProcessing, Sequence. Null gives null. Ids of a template must be
// below vocab_size. Throws Error(kUnsupported) naming any other type, Error(kBadInput) for a wrong field.
std::unique_ptr<PostProcessor> make_post_processor(const Json& spec, int64_t vocab_size, const std::string& where);

}  // namespace microtome::tok
