/** Help texts, as wide as the terminal. */
import { type AddHelpTextContext, type AddHelpTextPosition, Command, Help } from 'commander';
import { columnsOf, wrapText } from './columns.js';

/** Where `--help` goes elsewhere than to a terminal. */
const USUAL_COLUMNS = 80;
/** Descriptions of options get narrower than this only where the terminal is narrow; commander would not wrap them at all below 40. */
const LEAST_DESCRIPTION = 20;
/** How far a remark stands behind the left edge that is given a line of its own. */
const REMARK_INDENT = '      ';

/** An indented line: an example, or a term, with a remark behind a gap. Neither is broken as long as the remark fits into a line of its own. */
function wrapExample(line: string, columns: number): string[] {
  const [, example, remark] = /^( +\S.*?) {2,}(\S.*)$/.exec(line) ?? [];
  // A command is to be copied as a whole.
  if (columnsOf(line) <= columns || example === undefined) return [line];
  return [example, ...wrapText(REMARK_INDENT + remark, columns, REMARK_INDENT)];
}

/** Wraps the text behind the options: lines without indent are paragraphs, those with one are examples. */
export function wrapHelp(text: string, columns: number): string {
  const lines: string[] = [];
  let paragraph: string[] = [];
  const endParagraph = () => {
    if (paragraph.length > 0) lines.push(...wrapText(paragraph.join(' '), columns));
    paragraph = [];
  };
  for (const line of text.split('\n')) {
    if (line !== '' && !line.startsWith(' ')) {
      paragraph.push(line);
      continue;
    }
    endParagraph();
    lines.push(...wrapExample(line, columns));
  }
  endParagraph();
  return lines.join('\n');
}

type HelpTextMaker = (context: AddHelpTextContext) => string;

/** A command, and its parts, whose help texts are as wide as the terminal. */
export class WrappedCommand extends Command {
  override createCommand(name?: string): Command {
    return new WrappedCommand(name);
  }

  override createHelp(): Help {
    return Object.assign(new Help(), { minWidthToWrap: LEAST_DESCRIPTION }, this.configureHelp());
  }

  override addHelpText(position: AddHelpTextPosition, text: string | HelpTextMaker): this {
    if (typeof text !== 'string') return super.addHelpText(position, text);
    return super.addHelpText(position, ({ error }) => {
      const { getOutHelpWidth, getErrHelpWidth } = this.configureOutput();
      return wrapHelp(text, (error ? getErrHelpWidth : getOutHelpWidth)?.() || USUAL_COLUMNS);
    });
  }
}
