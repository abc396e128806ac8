mod life;
mod replies;
