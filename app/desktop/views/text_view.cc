#include "app/desktop/views/text_view.h"

#include <QAbstractTextDocumentLayout>
#include <QClipboard>
#include <QGuiApplication>
#include <QMenu>
#include <QPainter>
#include <QPointer>
#include <QScrollBar>
#include <QTextBrowser>
#include <QTextDocument>
#include <QTextDocumentFragment>
#include <QTextTable>
#include <QVBoxLayout>
#include <algorithm>

#include "app/desktop/theme/theme.h"
#include "app/desktop/views/plain_line.h"

namespace microtome::desktop {
namespace {

// A column of about 90 characters; wider lines are hard to follow.
constexpr int kTextWidth = 95 * kGrid;
constexpr double kMostPictureHeight = 6000;

// Qt's own document falls back to reading files when its widget hands it nothing, so the refusal has to sit here.
class SealedDocument : public QTextDocument {
 public:
  using QTextDocument::QTextDocument;

 protected:
  QVariant loadResource(int type, const QUrl&) override {
    // A picture that is there, and empty: the image handler would otherwise try the disk itself.
    if (type == QTextDocument::ImageResource) {
      QImage none(1, 1, QImage::Format_ARGB32_Premultiplied);
      none.fill(0);
      return none;
    }
    return QByteArray("");
  }
};

class Browser : public QTextBrowser {
 public:
  using QTextBrowser::QTextBrowser;
  QVariant loadResource(int, const QUrl&) override { return {}; }

 protected:
  void resizeEvent(QResizeEvent* event) override {
    const int width = std::min(viewport()->width(), kTextWidth);
    if (lineWrapColumnOrWidth() != width) setLineWrapColumnOrWidth(width);
    QTextBrowser::resizeEvent(event);
  }
};

bool turnsText(QChar c) {
  const ushort u = c.unicode();
  return (u >= 0x202a && u <= 0x202e) || (u >= 0x2066 && u <= 0x2069) || u == 0x200e || u == 0x200f || u == 0x061c;
}

// Bidirectional controls would make a sentence read otherwise than it is written; other controls are not text.
QString defused(const QString& text) {
  QString out;
  out.reserve(text.size());
  for (QChar c : text) {
    const bool control = c.category() == QChar::Other_Control && c != QLatin1Char('\n') && c != QLatin1Char('\t') &&
                         c != QLatin1Char('\r');
    if (control || turnsText(c)) out += visibleToken(QString(c));
    else out += c;
  }
  return out;
}

// Every picture becomes its words.
void replaceImages(QTextDocument* doc, const Theme& theme) {
  for (QTextBlock block = doc->begin(); block.isValid(); block = block.next()) {
    for (bool again = true; again;) {
      again = false;
      for (auto it = block.begin(); !it.atEnd(); ++it) {
        const QTextFragment part = it.fragment();
        if (!part.charFormat().isImageFormat()) continue;
        const QString alt = part.charFormat().toImageFormat().property(QTextFormat::ImageAltText).toString();
        QTextCursor cursor(doc);
        cursor.setPosition(part.position());
        cursor.setPosition(part.position() + part.length(), QTextCursor::KeepAnchor);
        QTextCharFormat format;
        format.setForeground(theme.muted);
        format.setFontItalic(true);
        cursor.insertText(TextView::tr("[picture not shown: %1]").arg(alt.isEmpty() ? TextView::tr("no name") : alt),
                          format);
        again = true;  // the fragments have changed
        break;
      }
    }
  }
}

void styleBlocks(QTextDocument* doc, const Theme& theme) {
  const QFont mono = monoFont();
  for (QTextBlock block = doc->begin(); block.isValid(); block = block.next()) {
    QTextCursor cursor(block);
    QTextBlockFormat format = block.blockFormat();
    const bool code = format.hasProperty(QTextFormat::BlockCodeFence) || format.hasProperty(QTextFormat::BlockCodeLanguage);
    if (code) {
      format.setBackground(theme.raised);
      const QTextBlock next = block.next();
      const bool last = !next.isValid() || !next.blockFormat().hasProperty(QTextFormat::BlockCodeFence);
      format.setBottomMargin(last ? kGrid : 0);
      format.setLineHeight(120, QTextBlockFormat::ProportionalHeight);
    } else if (format.headingLevel() > 0) {
      format.setTopMargin(format.headingLevel() == 1 ? kGrid : 2 * kGrid);
      format.setBottomMargin(kGrid);
    } else {
      const int quoted = format.intProperty(QTextFormat::BlockQuoteLevel);
      if (quoted > 0) {
        format.setLeftMargin(3 * kGrid * std::min(quoted, 4));
        QTextCharFormat chars;
        chars.setForeground(theme.muted);
        cursor.select(QTextCursor::BlockUnderCursor);
        cursor.mergeCharFormat(chars);
        cursor = QTextCursor(block);
      }
      format.setLineHeight(125, QTextBlockFormat::ProportionalHeight);
      if (!block.textList() && !cursor.currentTable()) format.setBottomMargin(kGrid);
    }
    cursor.setBlockFormat(format);
    std::vector<std::pair<int, int>> spans;
    for (auto it = block.begin(); !it.atEnd(); ++it)
      if (it.fragment().charFormat().fontFixedPitch()) spans.emplace_back(it.fragment().position(), it.fragment().length());
    for (auto [at, length] : spans) {
      QTextCursor span(doc);
      span.setPosition(at);
      span.setPosition(at + length, QTextCursor::KeepAnchor);
      QTextCharFormat chars;
      chars.setFont(mono, QTextCharFormat::FontPropertiesSpecifiedOnly);
      chars.setFontFamilies(mono.families());
      if (!code) chars.setBackground(theme.raised);
      span.mergeCharFormat(chars);
    }
  }
  for (QTextFrame* frame : doc->rootFrame()->childFrames()) {
    auto* table = qobject_cast<QTextTable*>(frame);
    if (!table) continue;
    QTextTableFormat format = table->format();
    format.setBorderCollapse(true);
    format.setBorder(1);
    format.setBorderBrush(theme.faint);
    format.setBorderStyle(QTextFrameFormat::BorderStyle_Solid);
    format.setCellPadding(kGrid / 2);
    format.setCellSpacing(0);
    format.setTopMargin(kGrid);
    format.setBottomMargin(2 * kGrid);
    table->setFormat(format);
    QTextCharFormat bold;
    bold.setFontWeight(QFont::Bold);
    for (int c = 0; c < table->columns(); ++c) {
      // A table after a quotation comes with an empty paragraph before its first word.
      QTextCursor first = table->cellAt(0, c).firstCursorPosition();
      if (first.block().text().isEmpty() && table->cellAt(0, c).lastCursorPosition().block() != first.block())
        first.deleteChar();
      first = table->cellAt(0, c).firstCursorPosition();
      QTextBlockFormat top = first.blockFormat();
      top.setTopMargin(0);
      first.setBlockFormat(top);
      first.setPosition(table->cellAt(0, c).lastCursorPosition().position(), QTextCursor::KeepAnchor);
      first.mergeCharFormat(bold);
    }
  }
}

}  // namespace

TextView::TextView(QWidget* parent) : View(parent), browser_(new Browser(this)) {
  browser_->setFrameShape(QFrame::NoFrame);
  browser_->setOpenLinks(false);
  browser_->setOpenExternalLinks(false);
  browser_->setLineWrapMode(QTextEdit::FixedPixelWidth);
  browser_->setLineWrapColumnOrWidth(kTextWidth);
  browser_->setTextInteractionFlags(Qt::TextBrowserInteraction);
  browser_->setPlaceholderText(tr("Nothing is written here yet."));
  browser_->setAccessibleName(tr("Text"));
  // The view's own menu serves, with copying added.
  browser_->setContextMenuPolicy(Qt::NoContextMenu);
  setFocusProxy(browser_);
  fillDocument();
  auto* box = new QVBoxLayout(this);
  box->setContentsMargins(0, 0, 0, 0);
  box->addWidget(browser_);
  connect(browser_, &QTextBrowser::highlighted, this, [this](const QUrl& url) {
    Q_EMIT hoverText(url.isEmpty() ? QString() : tr("Link, not opened: %1").arg(plainLine(url.toString())));
  });
}

void TextView::setMarkdown(const QString& text) { take(text, false); }

void TextView::setPlain(const QString& text) { take(text, true); }

void TextView::setEmptyText(const QString& text) { browser_->setPlaceholderText(text); }

void TextView::take(const QString& text, bool plain) {
  if (text == source_ && plain == plain_) return;
  source_ = text;
  plain_ = plain;
  fillDocument();
  browser_->verticalScrollBar()->setValue(0);
}

void TextView::fillDocument() {
  const Theme& theme = Theme::of(this);
  // Made apart and shown when done: while a document is on show, every touch lays it out anew.
  auto* doc = new SealedDocument(browser_);
  doc->setUndoRedoEnabled(false);
  doc->setDefaultFont(browser_->font());
  doc->setDocumentMargin(2 * kGrid);
  doc->setIndentWidth(3 * kGrid);
  const QString text = defused(source_.left(kMostCharacters));
  if (plain_) {
    doc->setPlainText(text);
  } else {
    doc->setMarkdown(text, QTextDocument::MarkdownFeatures(QTextDocument::MarkdownDialectGitHub) |
                           QTextDocument::MarkdownNoHTML);
    replaceImages(doc, theme);
    styleBlocks(doc, theme);
  }
  if (const qsizetype rest = source_.size() - kMostCharacters; rest > 0) {
    QTextCursor end(doc);
    end.movePosition(QTextCursor::End);
    QTextCharFormat format;
    format.setForeground(theme.muted);
    format.setFontItalic(true);
    end.insertBlock(QTextBlockFormat(), format);
    end.insertText(tr("The text is cut here: %L1 more characters are in the stored result.").arg(rest), format);
  }
  // Qt deletes only the document it made itself.
  const QPointer<QTextDocument> before = browser_->document();
  browser_->setDocument(doc);
  delete before.data();
}

void TextView::drawPicture(QPainter& painter, const QSizeF& size) const {
  const std::unique_ptr<QTextDocument> whole(browser_->document()->clone());
  whole->setDefaultFont(browser_->font());
  whole->setTextWidth(size.width());
  QAbstractTextDocumentLayout::PaintContext context;
  context.palette = browser_->palette();
  context.clip = QRectF(QPointF(), size);
  painter.save();
  painter.setClipRect(context.clip, Qt::IntersectClip);
  whole->documentLayout()->draw(&painter, context);
  painter.restore();
}

QSizeF TextView::pictureSize() const {
  const double width = std::clamp<double>(browser_->lineWrapColumnOrWidth(), 20 * kGrid, kTextWidth);
  const QSizeF doc = browser_->document()->size();
  return QSizeF(width, std::clamp(doc.height(), 5.0 * kGrid, kMostPictureHeight));
}

void TextView::addActions(QMenu& menu) {
  QAction* copy = menu.addAction(tr("Copy text"), this, [this] {
    const QTextCursor cursor = browser_->textCursor();
    QGuiApplication::clipboard()->setText(cursor.hasSelection() ? cursor.selection().toPlainText() : source_);
  });
  copy->setObjectName(QStringLiteral("copy_text"));
  copy->setEnabled(!source_.isEmpty());
  const QString link = browser_->anchorAt(browser_->mapFromGlobal(QCursor::pos()));
  if (!link.isEmpty()) menu.addAction(tr("Copy link"), this, [link] { QGuiApplication::clipboard()->setText(link); });
  menu.addAction(tr("Select all"), browser_, &QTextBrowser::selectAll)->setEnabled(!source_.isEmpty());
}

void TextView::changeEvent(QEvent* event) {
  View::changeEvent(event);
  // Link and code colours are written into the document.
  if (event->type() == QEvent::PaletteChange && browser_ && !source_.isEmpty()) {
    const int at = browser_->verticalScrollBar()->value();
    fillDocument();
    browser_->verticalScrollBar()->setValue(at);
  }
}

}  // namespace microtome::desktop
