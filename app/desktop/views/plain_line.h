// plain_line.h — text from elsewhere (names, cells, labels) as one line that is safe to draw. Tokens have a spelling of
// their own: visibleToken() in theme.h.
#pragma once

#include <QString>

namespace microtome::desktop {

// Line breaks and tabs become their signs, control and bidirectional characters their codes; spaces stay. More than
// `most` characters end in "…".
QString plainLine(const QString& text, int most = 500);
// A token in double quotes as one would type it: \n, \t, \\, \", other control characters as \u202e. Longer than `most`
// characters: cut, with "…" after the quote.
QString quotedToken(const QString& token, int most = 200);

}  // namespace microtome::desktop
