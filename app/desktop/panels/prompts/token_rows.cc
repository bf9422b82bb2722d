#include "app/desktop/panels/prompts/token_rows.h"

#include <QPainter>
#include <QScrollBar>
#include <QWheelEvent>
#include <algorithm>

#include "app/desktop/theme/theme.h"

namespace microtome::desktop {
namespace {

constexpr size_t kLongLine = 300;      // tokens: more would be a line nobody scrolls through
constexpr int kWidestLine = 100'000;

}  // namespace

// What the rows are, at their left; stays when they are scrolled sideways.
class TokenRows::Names : public QWidget {
 public:
  explicit Names(TokenRows* rows) : QWidget(rows), rows_(rows) { setAttribute(Qt::WA_TransparentForMouseEvents); }
  int wanted() const { return QFontMetrics(font()).horizontalAdvance(tr("corrupted")) + kGrid; }

 protected:
  void paintEvent(QPaintEvent*) override {
    QPainter p(this);
    p.setPen(Theme::of(this).muted);
    if (!rows_->clean_->isVisible() && !rows_->corrupted_->isVisible()) {
      p.drawText(rect(), Qt::AlignLeft | Qt::AlignVCenter | Qt::TextWordWrap, rows_->hint_);
      return;
    }
    const auto name = [&](TokenStrip* strip, const QString& text) {
      if (!strip->isVisible()) return;
      const int top = strip->mapTo(rows_, QPoint(0, 0)).y();
      const int line = strip->minimumSizeHint().height();
      const int notes =
          strip == rows_->clean_ && rows_->notes_ && rows_->hasNotes_ ? strip->heightForWidth(kWidestLine) - line : 0;
      p.drawText(QRect(0, top + notes, width(), line), Qt::AlignLeft | Qt::AlignVCenter, text);
    };
    name(rows_->clean_, tr("clean"));
    name(rows_->corrupted_, tr("corrupted"));
  }

 private:
  TokenRows* rows_;
};

TokenRows::TokenRows(QWidget* parent) : QScrollArea(parent) {
  setFrameShape(QFrame::NoFrame);
  setFocusPolicy(Qt::NoFocus);
  setVerticalScrollBarPolicy(Qt::ScrollBarAsNeeded);
  content_ = new QWidget;
  clean_ = new TokenStrip(content_);
  clean_->setAccessibleName(tr("Clean prompt, tokens"));
  corrupted_ = new TokenStrip(content_);
  corrupted_->setAccessibleName(tr("Corrupted prompt, tokens"));
  setWidget(content_);
  names_ = new Names(this);
  for (TokenStrip* strip : {clean_, corrupted_}) {
    TokenStrip* other = strip == clean_ ? corrupted_ : clean_;
    connect(strip, &TokenStrip::tokenClicked, this, &TokenRows::tokenClicked);
    connect(strip, &TokenStrip::tokenHovered, other, &TokenStrip::setCursor);
  }
  setTokens({}, {});
}

void TokenRows::setTokens(std::vector<TokenChip> clean, std::vector<TokenChip> corrupted) {
  chips_[0] = std::move(clean);
  chips_[1] = std::move(corrupted);
  hasNotes_ = std::any_of(chips_[0].begin(), chips_[0].end(), [](const TokenChip& c) { return !c.note.isEmpty(); });
  fill(true);
  clean_->setVisible(!chips_[0].empty());
  corrupted_->setVisible(!chips_[1].empty());
  arrange();
  showDifference();
}

void TokenRows::setHint(const QString& hint) {
  if (hint == hint_) return;
  hint_ = hint;
  names_->update();
}

void TokenRows::setSelected(int64_t position) {
  clean_->setSelected(position);
  corrupted_->setSelected(position);
}

void TokenRows::fill(bool notes) {
  notes_ = notes;
  const int64_t selected = clean_->selected();
  for (int row = 0; row < 2; ++row) {
    std::vector<TokenChip> chips = chips_[row];
    if (!notes)
      for (TokenChip& c : chips) c.note.clear();
    (row == 0 ? clean_ : corrupted_)->setTokens(std::move(chips));
  }
  setSelected(selected);
}

int TokenRows::heightAt(int width) const {
  return (chips_[0].empty() ? 0 : clean_->heightForWidth(width)) +
         (chips_[1].empty() ? 0 : corrupted_->heightForWidth(width));
}

void TokenRows::arrange() {
  const bool empty = chips_[0].empty() && chips_[1].empty();
  const int gutter = empty ? 0 : names_->wanted();
  setViewportMargins(gutter, 0, 0, 0);
  names_->setGeometry(0, 0, empty ? width() : gutter, height());
  const int wide = std::max(width() - gutter, 8 * kGrid), high = height();
  if (hasNotes_ && !notes_) fill(true);
  int at = wide;
  if (hasNotes_ && heightAt(wide) > high) fill(false);
  if (!empty && heightAt(wide) > high) {
    const int bar = horizontalScrollBar()->sizeHint().height();
    if (std::max(chips_[0].size(), chips_[1].size()) <= kLongLine) {
      // As many lines as the height holds, and then the least width at which they hold both.
      int lo = wide, hi = kWidestLine;
      const int most = std::max(high - bar, heightAt(hi));
      while (hi - lo > 2) {
        const int middle = lo + (hi - lo) / 2;
        (heightAt(middle) <= most ? hi : lo) = middle;
      }
      at = hi;
    } else {
      at = wide - verticalScrollBar()->sizeHint().width();
    }
  }
  int y = 0;
  for (TokenStrip* strip : {clean_, corrupted_}) {
    if (chips_[strip == clean_ ? 0 : 1].empty()) continue;
    const int h = strip->heightForWidth(at);
    strip->setGeometry(0, y, at, h);
    y += h;
  }
  content_->resize(at, y);
  names_->update();
}

void TokenRows::showDifference() {
  // By its share of the line: near enough, chips being much alike.
  const auto& chips = chips_[0];
  const auto first = std::find_if(chips.begin(), chips.end(), [](const TokenChip& c) { return c.differs; });
  const int64_t at = first == chips.end() ? -1 : first - chips.begin();
  if (at == difference_) return;
  difference_ = at;
  QScrollBar* bar = horizontalScrollBar();
  if (at < 0 || clean_->selected() >= 0 || bar->maximum() == 0) return;
  const int line = clean_->heightForWidth(content_->width()) <= clean_->minimumSizeHint().height() + kGrid ? 1 : 0;
  if (line == 1)
    bar->setValue(static_cast<int>(static_cast<double>(at) / static_cast<double>(chips.size()) * content_->width()) -
                  viewport()->width() / 2);
}

void TokenRows::resizeEvent(QResizeEvent* event) {
  QScrollArea::resizeEvent(event);
  arrange();
}

void TokenRows::scrollContentsBy(int dx, int dy) {
  QScrollArea::scrollContentsBy(dx, dy);
  if (dy != 0) names_->update();
}

void TokenRows::wheelEvent(QWheelEvent* event) {
  // Where there is nothing to scroll down, a plain wheel goes sideways.
  const QPoint by = event->angleDelta();
  if (verticalScrollBar()->maximum() == 0 && horizontalScrollBar()->maximum() > 0 && by.x() == 0) {
    horizontalScrollBar()->setValue(horizontalScrollBar()->value() - by.y());
    event->accept();
    return;
  }
  QScrollArea::wheelEvent(event);
}

QSize TokenRows::sizeHint() const { return {50 * kGrid, 16 * kGrid}; }
QSize TokenRows::minimumSizeHint() const { return {24 * kGrid, clean_->minimumSizeHint().height()}; }

}  // namespace microtome::desktop
