#include "core/mixers/cursor.h"

namespace microtome::mixers {
namespace {

thread_local const Cursor* current = nullptr;

}  // namespace

const Cursor* cursor() { return current; }

WithCursor::WithCursor(const Cursor& c) : before_(current) { current = &c; }
WithCursor::~WithCursor() { current = before_; }

}  // namespace microtome::mixers
