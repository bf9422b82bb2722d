// prompt.h — one prompt as token ids, and the token that would follow it. Shared by datasets read from files and by the
// built-in tasks, so that both put the start token and judge answers in the same way. Stateless; thread-safe.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/io/tokenizer.h"
#include "core/tasks/task.h"

namespace microtome::tasks {

// Ids, pieces and offsets with the start token as `bos` says; a start token put in front has offsets (0,0). Throws
// Error when `bos` is kOn and the tokenizer has no start token.
Encoding encode_prompt(const Tokenizer& tokenizer, const std::string& text, BosMode bos);

// The id that makes `text + answer` be `ids + [id]`; nothing when the answer is several tokens there, or when it
// changes how the text before it is cut. ids: encode_prompt(tokenizer, text, bos).ids.
std::optional<int64_t> following_token(const Tokenizer& tokenizer, const std::string& text,
                                       const std::vector<int64_t>& ids, const std::string& answer, BosMode bos);

}  // namespace microtome::tasks
