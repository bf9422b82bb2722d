// resources.h — small text files of resources/ (SQL migrations, task templates) built into the program, so that an
// installed binary needs no search path for them.
#pragma once

#include <map>
#include <string>

namespace microtome {

// "sql/001_initial.sql" → text. Thread-safe.
const std::map<std::string, std::string>& embedded_resources();

}  // namespace microtome
