// token_chips.h — tokens as chips: fixed pitch, blanks visible, clean over corrupted with what differs marked.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "core/base/json.h"

namespace microtome::report {

// look: "" or one of the style sheet's classes: "same", "diff", "ans".
std::string token_chip(const std::string& token, const std::string& look = {});
// One prompt of context["prompts"] as HTML: aligned rows, position labels above, answers and labels below.
std::string prompt_html(const Json& prompt, size_t number);

}  // namespace microtome::report
