mod flush;
mod room;
mod unary;
